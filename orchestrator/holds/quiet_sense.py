"""Quiet hours as a sense: a hold for as long as they last, with its end."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain import Hold, Reason
from orchestrator.holds.quiet_hours import Quiet, QuietTime
from orchestrator.holds.senses import Moment

_DAY = timedelta(days=1)


class QuietSense:
    """Nothing but the clock is looked at, so a restart in the middle finds the same hold."""

    def __init__(self, quiet: Quiet) -> None:
        self._quiet = quiet
        self._next: Quiet | None = None
        #: by place in the list; a hold is the same until its end
        self._held: dict[int, Hold] = {}

    def use(self, quiet: Quiet) -> None:
        """From the next look on other times count. From any thread."""
        self._next = quiet

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        if self._next is not None:
            self._quiet, self._next = self._next, None
            self._held.clear()
        for place, time in enumerate(self._quiet.times):
            if not self._quiet.holds(time, moment.now):
                self._held.pop(place, None)
            elif not self._is_known(place, moment.now):
                self._held[place] = self._hold(place, time, moment.now)
        return tuple(self._held.values())

    def _is_known(self, place: int, now: datetime) -> bool:
        held = self._held.get(place)
        # one without an end is looked at anew after a day: its end may have come into sight
        return held is not None and held.since <= now < (held.until or held.since + _DAY)

    def _hold(self, place: int, time: QuietTime, now: datetime) -> Hold:
        start, end = span = self._quiet.span(time, now)
        name = f" ({time.name})" if time.name else ""
        until = f" until {end.astimezone(self._quiet.zone):%H:%M}" if end else ""
        return Hold(
            Reason.QUIET_HOURS,
            self._quiet.effect(time, span),
            f"quiet_hours {place + 1}",
            start or now,
            end,
            f"quiet hours{name}{until}",
            cap_watts=time.cap_watts,
        )
