"""Quiet hours: times at which the machine is to be silent, on the clock on the wall."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.domain import Effect
from orchestrator.holds.pause_depth import break_even_seconds, pause_depth
from orchestrator.settings.section import HOT, Duration, Section, contradiction
from orchestrator.tariff.table import TariffConfig, TimesConfig
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.when import QUARTER_MINUTES, When

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER = timedelta(minutes=QUARTER_MINUTES)
#: what is quiet for longer in one piece has no end that anybody waits for
_LONGEST = timedelta(days=8)
_YEAR = timedelta(days=366)


class QuietTimeConfig(TimesConfig):
    """One set of quiet times, and what they ask for."""

    name: str = Field(default="", description="For you; it shows where the hold does.")
    effect: Literal["auto", "pause", "release", "cap"] = Field(
        default="auto",
        description="auto: a pause for minutes, a release for hours. cap: go on under cap_watts.",
    )
    cap_watts: Annotated[float, Field(strict=True, gt=0.0, le=20_000.0)] | None = Field(
        default=None, examples=[120.0], description="With cap: the card's limit meanwhile."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.effect == "cap" and self.cap_watts is None:
            raise contradiction("cap_watts", 'must be set with effect = "cap"')
        if self.effect != "cap" and self.cap_watts is not None:
            raise contradiction("cap_watts", 'only goes with effect = "cap"')
        return self


class QuietHoursConfig(Section):
    """When the machine is to be silent. [[quiet_hours]] is short for [[quiet_hours.times]]."""

    time_zone: str = Field(
        json_schema_extra=HOT,
        default="",
        description='Whose clock it is, such as "Europe/Berlin". Empty: that of the tariff, or '
        "the machine's own.",
    )
    release_after: Duration = Field(
        json_schema_extra=HOT,
        default=break_even_seconds(),
        description="auto: quiet times from this length on give the GPU's memory back.",
    )
    times: tuple[QuietTimeConfig, ...] = Field(
        json_schema_extra=HOT,
        default=(),
        examples=[[{"days": "Mo-Fr", "hours": "22-7"}]],
        description="Further keys: months, dates, name, effect (auto, pause, release, cap) and "
        "cap_watts. The days may hold PH, one of tariff.holidays.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"times": data} if isinstance(data, list | tuple) else data

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        if value:
            zone_of(value)
        return value


@dataclass(frozen=True)
class QuietTime:
    """One set of quiet times; an effect of None goes by their length."""

    when: When
    effect: Effect | None = None
    cap_watts: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Quiet:
    """All of them, and the clock on the wall that they mean."""

    times: tuple[QuietTime, ...]
    #: None: the machine's own
    zone: tzinfo | None = None
    holidays: When | None = None
    release_after_seconds: float = break_even_seconds()

    def holds(self, time: QuietTime, moment: datetime) -> bool:
        """Whether that time is quiet at ``moment``."""
        local = moment.astimezone(self.zone)
        holiday = self.holidays is not None and self.holidays.holds(local, holiday=False)
        return time.when.holds(local, holiday=holiday)

    def span(self, time: QuietTime, moment: datetime) -> tuple[datetime | None, datetime | None]:
        """The unbroken quiet time around a quiet ``moment``, in UTC; None: further than a week.

        Every quarter of an hour of UTC is looked up on the wall by itself, so a night in which
        the clocks change is as long as it is.
        """
        here = moment - (moment - _EPOCH) % _QUARTER
        return self._edge(time, here, -_QUARTER), self._edge(time, here, _QUARTER)

    def effect(self, time: QuietTime, span: tuple[datetime | None, datetime | None]) -> Effect:
        """What it asks for over its whole length."""
        if time.effect is not None:
            return time.effect
        start, end = span
        whole = _LONGEST if start is None or end is None else end - start
        return pause_depth(whole.total_seconds(), self.release_after_seconds)

    def next(self, time: QuietTime, moment: datetime) -> datetime | None:
        """When that time is quiet next, ``moment`` included; None: not within a year."""
        here = moment - (moment - _EPOCH) % _QUARTER
        for _ in range(_YEAR // _QUARTER):
            if self.holds(time, here):
                return here
            here += _QUARTER
        return None

    def _edge(self, time: QuietTime, here: datetime, step: timedelta) -> datetime | None:
        reached = here
        while self.holds(time, reached + step):
            reached += step
            if abs(reached - here) > _LONGEST:
                return None
        return reached if step < timedelta(0) else reached + step


def quiet_of(config: QuietHoursConfig, tariff: TariffConfig) -> Quiet:
    """The table as values; zone and holidays are the tariff's where it has none of its own."""
    zone = config.time_zone or tariff.time_zone
    return Quiet(
        times=tuple(
            QuietTime(
                When.parse(item.days, item.hours, item.months, item.dates),
                None if item.effect == "auto" else Effect(item.effect),
                item.cap_watts,
                item.name,
            )
            for item in config.times
        ),
        zone=zone_of(zone) if zone else None,
        holidays=When.parse("", "", "", tariff.holidays) if tariff.holidays else None,
        release_after_seconds=config.release_after,
    )
