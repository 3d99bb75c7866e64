"""What the doctor and ``config check`` say about quiet hours: when they come, or why never."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.cli import times

if TYPE_CHECKING:
    from orchestrator.settings.config import Config


@dataclass(frozen=True)
class Finding:
    """One set of quiet times; with a fix where something is wrong with it."""

    message: str
    fix: str = ""


def sentences(now: datetime, config: Config) -> list[str]:
    """One for each set of quiet times."""
    return [
        "quiet hours: " + "; ".join(filter(None, (finding.message, finding.fix)))
        for finding in findings(now, config)
    ]


def findings(now: datetime, config: Config) -> Iterator[Finding]:
    """When each set comes next, and what it asks for then."""
    from orchestrator.holds.quiet_hours import quiet_of

    quiet = quiet_of(config.quiet_hours, config.tariff)
    for number, time in enumerate(quiet.times, start=1):
        name = time.name or f"number {number}"
        begins = quiet.next(time, now)
        if begins is None:
            fix = "check its days, dates and months"
            if time.when.holidays and quiet.holidays is None:
                fix = "its days hold PH, so list your holidays in tariff.holidays"
            yield Finding(f"{name} does not come within a year", fix)
            continue
        start, end = span = quiet.span(time, begins)
        effect = quiet.effect(time, span).value
        if end is None:
            yield Finding(
                f"{name} does not end within a week, so nothing would run ({effect})"
                if effect != "cap"
                else f"{name} does not end within a week",
                "give it hours, such as 22-7",
            )
            continue
        if effect == "cap":
            effect = f"at most {time.cap_watts:g} W"
        until = times.moment(end, now, zone=quiet.zone)
        if start is not None and start <= now:
            yield Finding(f"{name} now, until {until} ({effect})")
        else:
            since = times.moment(begins, now, zone=quiet.zone)
            yield Finding(f"{name} from {since} until {until} ({effect})")
