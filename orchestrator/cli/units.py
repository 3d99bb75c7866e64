"""The systemd units that ``homerun service`` writes: a hardened system one, and a user's own.

What stays off, and why: MemoryDenyWriteExecute (Triton and CUDA compile at run time),
PrivateDevices (hides the GPU), PrivateTmp (breaks idle detection under X11, BOINC#1187),
IPAddressDeny (price services and notifications are out on the network).
systemd.exec(5) and systemd.service(5) tell what each line means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NAME = "homerun.service"
#: the daemon takes the last checkpoint in it; the rest is killed
_STOP_SECONDS = 600


@dataclass(frozen=True)
class Installation:
    """What a unit needs to know of this machine."""

    #: the homerun program, absolute
    program: Path
    #: homerun.toml, absolute; None for the defaults
    config: Path | None = None
    #: whom a system unit runs as
    user: str = "homerun"


def system_unit(installation: Installation) -> str:
    """The unit for systemd's system manager: starts at boot, without anybody logged in."""
    return _unit(
        installation,
        "After=network.target nvidia-persistenced.service\n",
        f"User={installation.user}\n{_SYSTEM_ONLY}",
        "multi-user.target",
    )


def user_unit(installation: Installation) -> str:
    """The unit for a person's own manager; ``loginctl enable-linger`` starts it at boot."""
    return _unit(installation, "", _USER_ONLY, "default.target")


def _unit(installation: Installation, after: str, special: str, wanted_by: str) -> str:
    config = f" --config {_quoted(installation.config)}" if installation.config else ""
    return (
        "[Unit]\n"
        "Description=homerun: trains nanochat on the home GPU and loses nothing\n"
        f"{after}"
        "# A machine that was switched on is not given up after a few tries.\n"
        "StartLimitIntervalSec=0\n"
        "\n[Service]\n"
        "Type=notify\n"
        "NotifyAccess=main\n"
        f"ExecStart={_quoted(installation.program)}{config} serve\n"
        "ExecReload=/bin/kill -HUP $MAINPID\n"
        f"{_COMMON}{special}"
        f"\n[Install]\nWantedBy={wanted_by}\n"
    )


def _quoted(path: Path) -> str:
    """A path as systemd reads it: quoted where it must be, with % doubled."""
    text = str(path).replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{text}"' if set(text) & set(" \t\"'\\") else text


_COMMON = f"""\
WatchdogSec=2min
Restart=always
RestartSec=5
# A wrong configuration does not get better by trying again.
RestartPreventExitStatus=78
# The daemon gets the signal and takes the last checkpoint; what is left is killed afterwards.
KillMode=mixed
TimeoutStopSec={_STOP_SECONDS}
OOMPolicy=continue
Nice=5
IOSchedulingClass=idle

NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
"""

_SYSTEM_ONLY = """\
StateDirectory=homerun
StateDirectoryMode=0700
RuntimeDirectory=homerun
ConfigurationDirectory=homerun
OOMScoreAdjust=-500
SupplementaryGroups=video render
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
DevicePolicy=closed
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-nvidia-caps rw
DeviceAllow=char-drm rw
"""

#: a person's own manager may not take rights away that need root
_USER_ONLY = ""
