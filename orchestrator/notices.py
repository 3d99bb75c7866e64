"""Which entries of the journal a person wants to hear of on a phone, and how often. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain import JournalEntry

#: these are news however mild they are
_ALWAYS = {
    "run_finished": "is finished",
    "outage": "was interrupted",
    "rolled_back": "went back",
}
_SEVERITIES = ("info", "warning", "error")
_MOST_LINES = 12
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Notice:
    """One message: a title that says it all on a lock screen, and the sentence behind it."""

    title: str
    body: str
    #: info, warning or error
    severity: str = "info"


def notice_of(entry: JournalEntry) -> Notice | None:
    """What to say about an entry; None for everyday news.

    Finished runs, outages and rollbacks, and whatever is an error: held by a crash loop, a
    checkpoint that is damaged, a disk that is full. Pauses that a person or a tariff asked for
    are none.
    """
    if entry.kind not in _ALWAYS and entry.severity != "error":
        return None
    run = entry.run or "homerun"
    title = f"{run} {_ALWAYS.get(entry.kind, 'needs you')}"
    return Notice(title, entry.message, entry.severity)


def merged(notices: Sequence[Notice]) -> Notice:
    """Several notices as one message, the most severe in its title, the newest ones in full."""
    worst = max(notices, key=lambda notice: _SEVERITIES.index(notice.severity))
    lines = [notice.body for notice in notices[-_MOST_LINES:]]
    if len(notices) > _MOST_LINES:
        lines.insert(0, f"({len(notices) - _MOST_LINES} earlier ones: homerun events)")
    more = f" (+{len(notices) - 1})" if len(notices) > 1 else ""
    return Notice(worst.title + more, "\n".join(lines), worst.severity)


@dataclass
class Budget:
    """At most so many messages an hour: a crash loop at night must not ring all night."""

    most_per_hour: int
    _sent: list[datetime] = field(default_factory=list)

    def allows(self, now: datetime) -> bool:
        """Whether one more may go out now."""
        self._sent = [time for time in self._sent if abs(now - time) < _HOUR]
        return len(self._sent) < self.most_per_hour

    def spend(self, now: datetime) -> None:
        """One went out."""
        self._sent.append(now)
