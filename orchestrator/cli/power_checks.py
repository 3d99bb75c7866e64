"""What the doctor says of the power limit, of WSL2 and of a card in a container."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator.cli.check import Check, State
from orchestrator.home.assisted_gpu import PowerClient
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, GpuLost, NoRight, NvmlGpu, PowerLimits
from orchestrator.settings.power_config import PowerConfig

INSTALL = "sudo homerun service install --power-helper"
_WITHOUT = "levels are off and full, and caps for heat or noise are kept by pauses"
#: a clock that is so far off costs money; a hardware clock counts whole seconds
_CLOCK_SECONDS = 5.0
_RELOAD = (
    "a daemon-reload of the host takes the card away from this container; it was given by "
    "NVIDIA's runtime"
)
_CDI = (
    'for good: devices: ["nvidia.com/gpu=all"] (CDI) instead of the runtime, or Docker\'s '
    "native.cgroupdriver=cgroupfs; deploy/README.md"
)


@dataclass(frozen=True)
class Machine:
    """What is looked at, apart from the card."""

    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    @property
    def is_wsl(self) -> bool:
        """Windows' own kernel names itself."""
        return "microsoft" in self.text("proc/sys/kernel/osrelease").lower()

    @property
    def is_container(self) -> bool:
        """Docker, Podman, or one that says so."""
        marks = (self.root / ".dockerenv", self.root / "run/.containerenv")
        return "container" in self.env or any(mark.exists() for mark in marks)

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self.root / path).exists()

    def text(self, path: str) -> str:
        """A file's text; empty when it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""


def run_all(power: PowerConfig, clock: Clock) -> Iterator[Check]:
    """Every check of this module, on this machine."""
    machine, gpu, problem = Machine(), None, ""
    try:
        gpu = NvmlGpu()
    except (OSError, ImportError) as error:
        problem = str(error)
    yield from wsl(machine, clock.now())
    yield from container(machine, gpu, problem)
    yield from power_limit(machine, gpu, power, PowerClient(power.helper, clock))


# --- the power limit ------------------------------------------------------------------------


def power_limit(
    machine: Machine, gpu: Gpu | None, power: PowerConfig, helper: PowerClient
) -> Iterator[Check]:
    """Whether levels can be set, by whom, and what gives the right."""
    if gpu is None:
        return
    try:
        limits = gpu.limits()
    except GpuLost as error:
        yield Check("power limit", State.FAILED, f"the card is lost: {error}", "reboot")
        return
    if not power.limit:
        yield Check("power limit", State.OK, "never set, as power.limit says")
    elif limits is None:
        yield Check("power limit", State.OK, f"this card has none that can be set; {_WITHOUT}")
    elif machine.is_wsl:
        fix = "on Windows, as administrator: nvidia-smi -pl WATTS"
        yield Check("power limit", State.WARNING, f"not from inside WSL2; {_WITHOUT}", fix)
    elif machine.is_root:
        yield Check("power limit", State.OK, f"{_span(limits)}, set by the daemon if it is root")
    else:
        yield _helped(machine, power, limits, helper)


def _helped(
    machine: Machine, power: PowerConfig, limits: PowerLimits, helper: PowerClient
) -> Check:
    socket = Path(power.helper)
    if not socket.exists():
        fix = INSTALL
        if machine.is_container:
            fix = f"on the host: {INSTALL} --allow UID, and mount {socket.parent} here"
        return Check("power limit", State.WARNING, f"only root may set it; {_WITHOUT}", fix)
    if not os.access(socket, os.R_OK | os.W_OK):
        return Check("power limit", State.OK, f"{_span(limits)}; homerun-power serves its own user")
    try:
        helper.check()
    except NoRight as error:
        fix = f"{INSTALL} --allow USER, the one whom the daemon runs as"
        return Check("power limit", State.WARNING, f"{error}; {_WITHOUT}", fix)
    finally:
        helper.close()
    return Check("power limit", State.OK, f"{_span(limits)}, set by homerun-power")


def _span(limits: PowerLimits) -> str:
    lowest, highest = limits.lowest_watts, limits.highest_watts
    return f"{lowest:.0f} to {highest:.0f} W, default {limits.default_watts:.0f} W"


# --- WSL2 -----------------------------------------------------------------------------------


def wsl(machine: Machine, now: datetime) -> Iterator[Check]:
    """Windows gives the card and the time; nothing to say anywhere else."""
    if not machine.is_wsl:
        return
    if not machine.has("dev/dxg"):
        fix = "on Windows: wsl --update, NVIDIA's driver for Windows, then wsl --shutdown"
        yield Check("wsl", State.WARNING, "Windows gives no card: /dev/dxg is missing", fix)
    elif not machine.has("usr/lib/wsl/lib/libnvidia-ml.so.1"):
        fix = "install NVIDIA's driver on Windows, and none inside WSL2"
        yield Check("wsl", State.WARNING, "Windows' driver brings no NVML", fix)
    else:
        yield Check("wsl", State.OK, "the card is there by /dev/dxg")
    hardware = machine.text("sys/class/rtc/rtc0/since_epoch")
    if hardware.isdecimal():
        behind = int(hardware) - now.timestamp()
        if abs(behind) > _CLOCK_SECONDS:
            way = "behind" if behind > 0 else "ahead of"
            message = f"{abs(behind):.0f} s {way} the hardware's, as after Windows has slept"
            yield Check("wsl clock", State.WARNING, message, "sudo hwclock -s")


# --- containers -----------------------------------------------------------------------------


def container(machine: Machine, gpu: Gpu | None, problem: str) -> Iterator[Check]:
    """The card in a container: given, lost again, and who else is on it."""
    given = machine.env.get("NVIDIA_VISIBLE_DEVICES", "")
    if not machine.is_container or machine.is_wsl:
        return
    if gpu is None and machine.has("dev/nvidiactl"):
        message = f"the card was given and does not answer any more ({problem})"
        fix = f"docker compose restart homerun; {_CDI}"
        yield Check("container", State.FAILED, message, fix)
    elif gpu is None and given not in ("", "void", "none"):
        message = f"NVIDIA_VISIBLE_DEVICES is {given}, and there is no card"
        fix = (
            "on the host: install nvidia-container-toolkit, then sudo nvidia-ctk runtime "
            "configure --runtime=docker, and restart Docker"
        )
        yield Check("container", State.FAILED, message, fix)
    elif gpu is not None:
        # CDI leaves "void" there, so that the runtime adds nothing.
        if given not in ("", "void"):
            yield Check("container", State.WARNING, _RELOAD, _CDI)
        else:
            yield Check("container", State.OK, "the card was given by CDI, or as plain devices")
        if machine.text("proc/1/comm") not in ("systemd", "init"):
            message = "other programs on the card have process ids that mean nothing in here"
            fix = "add pid: host to the service, so that homerun makes room for games"
            yield Check("container", State.WARNING, message, fix)
