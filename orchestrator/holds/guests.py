"""Guests who announce themselves: a game by GameMode's hooks, or any other program by its name."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from orchestrator.domain import Hold, Reason
from orchestrator.errors import Invalid
from orchestrator.holds.pause_depth import pause_depth
from orchestrator.settings.card_config import GpuBusyConfig
from orchestrator.store import Transaction

#: who never says that he leaves, because his machine went down, does not hold the run for ever
LONGEST = timedelta(hours=12)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")


def arrive(
    tx: Transaction,
    name: str,
    until: datetime | None,
    detail: str,
    now: datetime,
    config: GpuBusyConfig,
) -> Hold:
    """Hold everything for ``name``, once however often he says it.

    Raises:
        Invalid: no name that can stand as a source, or an end that is over.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(f"name: {name[:40]!r} must be 1 to 40 of A-Z a-z 0-9 . _ -")
    if until is not None and until <= now:
        raise Invalid(f"{until.astimezone():%F %T} is in the past", "give a time still to come")
    expected = config.expected if until is None else (until - now).total_seconds()
    tx.holds.end([hold.id for hold in _of(tx, name, now)], now)
    hold = tx.holds.add(
        Hold(
            Reason.GPU_BUSY,
            pause_depth(expected, config.release_after),
            name,
            now,
            until or now + LONGEST,
            detail or f"{name} wants the card",
        )
    )
    tx.journal.write(
        "hold_started", f"Held by gpu_busy: {hold.detail}.", now, data={"source": name}
    )
    return hold


def leave(tx: Transaction, name: str, now: datetime) -> bool:
    """End what ``name`` held; False when that was nothing."""
    held = _of(tx, name, now)
    tx.holds.end([hold.id for hold in held], now)
    if held:
        tx.journal.write("hold_ended", f"{name} left the card.", now, data={"source": name})
    return bool(held)


def _of(tx: Transaction, name: str, now: datetime) -> list[Hold]:
    return [
        hold
        for hold in tx.holds.active(now)
        if hold.reason is Reason.GPU_BUSY and hold.source == name
    ]
