"""The calendar: APScheduler calls idempotent chores at their times.

Nothing depends on a fire: every chore looks at what is true now, so that a missed, late or
doubled one changes nothing. The jobs are declared in code at each start and never stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

log = logging.getLogger(__name__)


class Calendar:
    """A background scheduler with our habits: missed fires run once, chores never overlap."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._triggers: dict[str, Callable[[], BaseTrigger]] = {}

    def every(self, interval: timedelta, name: str, chore: Callable[[], None]) -> None:
        """Call ``chore`` at a steady interval."""
        seconds = interval.total_seconds()
        # so that two chores of the same interval do not always meet
        jitter = min(5.0, seconds / 10)
        self._add(lambda: IntervalTrigger(seconds=seconds, jitter=jitter), name, chore)

    def daily(self, hour: int, minute: int, name: str, chore: Callable[[], None]) -> None:
        """Call ``chore`` once a day, local time."""
        self._add(lambda: CronTrigger(hour=hour, minute=minute), name, chore)

    def drop(self, name: str) -> None:
        """Call that chore no more, if it is on the calendar."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def start(self) -> None:
        """Begin to call."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call no more; a chore under way is waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def chores(self) -> list[str]:
        """The names of what is on the calendar."""
        return [job.id for job in self._scheduler.get_jobs()]

    def clock_was_set(self) -> None:
        """Count the next times anew: after a jump back they would all be far away."""
        for name, trigger in self._triggers.items():
            self._scheduler.reschedule_job(name, trigger=trigger())

    def _add(
        self, trigger: Callable[[], BaseTrigger], name: str, chore: Callable[[], None]
    ) -> None:
        self._triggers[name] = trigger
        self._scheduler.add_job(
            _logged(name, chore), trigger(), id=name, name=name, replace_existing=True
        )


def _logged(name: str, chore: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        try:
            chore()
        except Exception:
            log.exception("the chore %s failed; it is tried again at its next time", name)

    return call
