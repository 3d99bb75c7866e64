"""What ``homerun service --power-helper`` installs: two units and one file, all of them root's.

The program is a zip of its own (zipapp(5)) with the four modules that it needs, run by the Python
that is not in a person's environment: code that runs as root must not lie where the user it serves
could change it. MemoryDenyWriteExecute stays off: ctypes, by which NVML is called, may make
executable memory. ProcSubset=pid stays off: NVML reads /proc/driver/nvidia.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator import power_wire

SERVICE = "homerun-power.service"
SOCKET = "homerun-power.socket"
PROGRAM = Path("/usr/local/lib/homerun/homerun-power.pyz")

_MODULES = (
    "orchestrator",
    "orchestrator.power_wire",
    "orchestrator.power_helper",
    "orchestrator.home",
    "orchestrator.home.clock",
    "orchestrator.home.gpu",
    "pynvml",
)
_MAIN = "import sys\nfrom orchestrator.power_helper import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class Helper:
    """What the units need to know."""

    #: a Python that belongs to root
    python: Path
    #: the user that may ask: whom the daemon runs as
    user: str = "homerun"


def socket_unit(helper: Helper) -> str:
    """systemd opens the socket and gives it to the user, so that the helper need not."""
    return (
        "[Unit]\n"
        "Description=homerun-power: where homerun asks for a power limit\n"
        "\n[Socket]\n"
        f"ListenStream={power_wire.SOCKET}\n"
        f"SocketUser={helper.user}\n"
        "SocketMode=0600\n"
        "DirectoryMode=0755\n"
        "RemoveOnStop=yes\n"
        "\n[Install]\nWantedBy=sockets.target\n"
    )


def service_unit(helper: Helper, program: Path = PROGRAM) -> str:
    """Root, and next to nothing that root may: one capability, one kind of device, no network."""
    command = f"{helper.python} -I {program}"
    return (
        "[Unit]\n"
        "Description=homerun-power: sets the power limit of the card for homerun\n"
        f"Requires={SOCKET}\n"
        f"After={SOCKET} nvidia-persistenced.service\n"
        "\n[Service]\n"
        "Type=exec\n"
        f"ExecStart={command} --allow {helper.user}\n"
        "# Also when it was killed: a game must not stay limited.\n"
        f"ExecStopPost=-{command} --restore\n"
        f"{_HARDENING}"
    )


def application() -> bytes:
    """The program: the same bytes for the same modules."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), _MAIN)
        for module in _MODULES:
            spec = importlib.util.find_spec(module)
            assert spec is not None, f"{module} is ours or a dependency"
            assert spec.origin is not None, f"{module} is a file"
            name = module.replace(".", "/")
            inside = f"{name}/__init__.py" if spec.submodule_search_locations else f"{name}.py"
            archive.writestr(zipfile.ZipInfo(inside), Path(spec.origin).read_bytes())
    return whole.getvalue()


_HARDENING = """\
Restart=on-failure
RestartSec=5
TasksMax=16
MemoryMax=128M
Nice=5

NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
DevicePolicy=closed
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-caps rw
UMask=0077
"""
