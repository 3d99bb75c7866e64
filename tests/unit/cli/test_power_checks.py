"""The doctor on limits, WSL2 and containers: machines that are made of a few files."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.cli.check import Check, State
from orchestrator.cli.power_checks import Machine, container, power_limit, run_all, wsl
from orchestrator.home.assisted_gpu import PowerClient
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import Gpu
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.power_helper import PowerHelper, listening
from orchestrator.settings.power_config import PowerConfig

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PLAIN = {"proc/sys/kernel/osrelease": "6.1.0-amd64"}
WINDOWS = {"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2"}
DOCKER = {**PLAIN, ".dockerenv": ""}


class Home:
    """Makes machines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "power" / "socket"
        self.socket.parent.mkdir()
        self.clock = FakeClock()

    def machine(
        self, files: dict[str, str], env: dict[str, str] | None = None, *, is_root: bool = False
    ) -> Machine:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Machine(self.root, env or {}, is_root)

    def limit(self, machine: Machine, gpu: Gpu | None, **power: object) -> list[Check]:
        config = PowerConfig.model_validate({"helper": str(self.socket), **power})
        helper = PowerClient(str(self.socket), self.clock)
        return list(power_limit(machine, gpu, config, helper))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def card() -> SimulatedGpu:
    return SimulatedGpu(FakeClock())


@pytest.fixture
def helper(home: Home, card: SimulatedGpu) -> Iterator[set[int]]:
    """A helper that serves whoever is in this set."""
    allowed = {os.getuid()}
    ours, wake = socket.socketpair()
    with listening(str(home.socket)) as listener, ours, wake:
        serving = PowerHelper(card, listener, allowed, home.clock)
        thread = threading.Thread(target=serving.serve, args=(wake,))
        thread.start()
        yield allowed
        ours.send(b"x")
        thread.join()


# --- the power limit ------------------------------------------------------------------------


def test_without_the_right_the_one_command_that_grants_it_is_named(
    home: Home, card: SimulatedGpu
) -> None:
    (check,) = home.limit(home.machine(PLAIN), card)
    assert check.state is State.WARNING
    assert "off and full" in check.message
    assert check.fix == "sudo homerun service install --power-helper"


@pytest.mark.usefixtures("helper")
def test_with_the_helper_the_cards_own_range_is_shown(home: Home, card: SimulatedGpu) -> None:
    (check,) = home.limit(home.machine(PLAIN), card)
    assert check.state is State.OK
    assert check.message == "100 to 215 W, default 200 W, set by homerun-power"
    assert card.limit_watts == 200.0


def test_a_helper_that_does_not_answer_is_told(home: Home, card: SimulatedGpu) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home.socket))
        (check,) = home.limit(home.machine(PLAIN), card)
    assert check.state is State.WARNING
    assert "homerun-power cannot be used" in check.message
    assert "--allow USER" in check.fix


def test_each_kind_of_machine_has_its_own_word(home: Home, card: SimulatedGpu) -> None:
    assert home.limit(home.machine(PLAIN), None) == []
    fixed = SimulatedGpu(home.clock, range_watts=None)
    assert home.limit(home.machine(PLAIN), fixed)[0].state is State.OK
    assert home.limit(home.machine(PLAIN, is_root=True), card)[0].state is State.OK
    assert home.limit(home.machine(PLAIN), card, limit=False)[0].state is State.OK
    lost = SimulatedGpu(home.clock, lost=True)
    assert home.limit(home.machine(PLAIN), lost)[0].state is State.FAILED
    (check,) = home.limit(home.machine(DOCKER), card)
    assert f"mount {home.socket.parent} here" in check.fix


def test_under_wsl_the_limit_is_set_on_windows(home: Home, card: SimulatedGpu) -> None:
    (check,) = home.limit(home.machine(WINDOWS, is_root=True), card)
    assert check.state is State.WARNING
    assert check.fix == "on Windows, as administrator: nvidia-smi -pl WATTS"


# --- WSL2 -----------------------------------------------------------------------------------


def test_outside_of_windows_there_is_nothing_to_say(home: Home) -> None:
    assert list(wsl(home.machine(PLAIN), NOW)) == []


def test_wsl_without_a_card_without_nvml_and_in_order(home: Home) -> None:
    (check,) = wsl(home.machine(WINDOWS), NOW)
    assert (check.state, "/dev/dxg is missing" in check.message) == (State.WARNING, True)
    (check,) = wsl(home.machine({"dev/dxg": ""}), NOW)
    assert "none inside WSL2" in check.fix
    machine = home.machine({"usr/lib/wsl/lib/libnvidia-ml.so.1": ""})
    assert [check.state for check in wsl(machine, NOW)] == [State.OK]


@pytest.mark.parametrize(
    ("offset", "words"), [(3600, "3600 s behind"), (-90, "90 s ahead of"), (2, "")]
)
def test_a_clock_that_slept_with_windows_is_told(home: Home, offset: int, words: str) -> None:
    rtc = {"sys/class/rtc/rtc0/since_epoch": f"{int(NOW.timestamp()) + offset}\n"}
    found = [check for check in wsl(home.machine({**WINDOWS, **rtc}), NOW) if "clock" in check.name]
    if not words:
        assert found == []
        return
    assert words in found[0].message
    assert found[0].fix == "sudo hwclock -s"


# --- containers -----------------------------------------------------------------------------


def test_outside_of_a_container_there_is_nothing_to_say(home: Home, card: SimulatedGpu) -> None:
    env = {"NVIDIA_VISIBLE_DEVICES": "all"}
    assert list(container(home.machine(PLAIN, env), card, "")) == []


def test_a_container_without_a_card_that_wants_none_is_in_order(home: Home) -> None:
    assert list(container(home.machine(DOCKER), None, "no card by NVML")) == []


def test_a_card_that_the_runtime_did_not_give_fails_with_the_way_to_one(home: Home) -> None:
    (check,) = container(
        home.machine(DOCKER, {"NVIDIA_VISIBLE_DEVICES": "all"}), None, "no card by NVML"
    )
    assert check.state is State.FAILED
    assert "nvidia-ctk runtime configure" in check.fix


def test_a_card_that_a_reload_of_the_host_took_away_is_known_by_its_device(home: Home) -> None:
    machine = home.machine({**DOCKER, "dev/nvidiactl": ""})
    (check,) = container(machine, None, "Unknown Error")
    assert check.state is State.FAILED
    assert "Unknown Error" in check.message
    assert "docker compose restart homerun" in check.fix


def test_a_card_by_the_runtime_warns_of_the_reload_and_one_by_cdi_does_not(
    home: Home, card: SimulatedGpu
) -> None:
    inside = {**DOCKER, "proc/1/comm": "systemd"}
    (check,) = container(home.machine(inside, {"NVIDIA_VISIBLE_DEVICES": "all"}), card, "")
    assert (check.state, "daemon-reload" in check.message) == (State.WARNING, True)
    assert "nvidia.com/gpu=all" in check.fix
    (check,) = container(home.machine(inside, {"NVIDIA_VISIBLE_DEVICES": "void"}), card, "")
    assert check.state is State.OK


def test_without_the_hosts_process_ids_games_cannot_be_seen(home: Home, card: SimulatedGpu) -> None:
    machine = home.machine({**DOCKER, "proc/1/comm": "tini"})
    checks = list(container(machine, card, ""))
    assert "pid: host" in checks[-1].fix


def test_the_checks_of_this_machine_always_answer() -> None:
    assert all(check.name for check in run_all(PowerConfig(), FakeClock()))
