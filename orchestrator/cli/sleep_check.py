"""What the doctor says of sleep and shutdown: whether they wait for a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.cli import files, logind_conf
from orchestrator.cli.check import Check, State
from orchestrator.errors import HomerunError

if TYPE_CHECKING:
    from orchestrator.cli.session import Session
    from orchestrator.home.login1 import Delay

#: of logind's patience, as the daemon counts: the rest is for the trainer's end
_PATIENCE_RATIO = 0.9
_LOST = "what was computed since the last checkpoint is at risk then"


def checks(session: Session, *, up: bool) -> Iterator[Check]:
    """Ask logind. A run does not need it."""
    from orchestrator.home.bus import BusError
    from orchestrator.home.login1 import probe

    try:
        delay = probe(session.clock)
    except BusError as error:
        yield nobody(str(error), systemd=files.systemd_runs())
    else:
        yield judge(delay, up=up, save_seconds=_save_seconds(session) if up else None)


def nobody(problem: str, *, systemd: bool) -> Check:
    """No logind answers: usual in a container, and a fault where systemd runs."""
    message = f"neither waits for a checkpoint ({problem})"
    if not systemd:
        return Check("sleep", State.OK, f"{message}; a suspend keeps memory, and a stop saves")
    fix = "systemctl status systemd-logind dbus; the daemon finds them again by itself"
    return Check("sleep", State.WARNING, f"{message}: {_LOST}", fix)


def judge(delay: Delay, *, up: bool, save_seconds: float | None) -> Check:
    """What logind grants, against what the last save took."""
    patience = f"up to {delay.seconds:.0f} s"
    if up and not delay.held:
        fix = "install polkitd if homerun is not root; homerun.log tells what logind said"
        return Check("sleep", State.WARNING, f"neither waits for this daemon: {_LOST}", fix)
    if save_seconds is not None and save_seconds > delay.seconds * _PATIENCE_RATIO:
        message = f"both wait {patience}, and the last checkpoint took {save_seconds:.0f} s"
        return Check("sleep", State.WARNING, message, logind_conf.fix(save_seconds))
    return Check("sleep", State.OK, f"suspend and shutdown wait {patience} for a checkpoint")


def _save_seconds(session: Session) -> float | None:
    """What the newest checkpoint took, if anybody knows."""
    try:
        run = session.client(timeout_seconds=5.0).get("status")["run"]
    except HomerunError:
        return None
    newest = run["checkpoint"] if run else None
    seconds = newest.get("write_seconds") if newest else None
    return None if seconds is None else float(seconds)
