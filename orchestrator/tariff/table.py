"""The [tariff] table of homerun.toml."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from orchestrator.settings.section import Section, contradiction
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.presets import presets
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.units import UNITS, factor, number
from orchestrator.tariff.when import When
from trainer.contract import toml

Service = Literal[
    "",
    "energy_charts",
    "awattar",
    "nordpool",
    "elprisetjustnu",
    "octopus",
    "comed",
    "energi_data_service",
    "tibber",
    "entsoe",
    "generic_json",
    "csv_file",
    "home_assistant",
]
assert set(get_args(Service)) == {"", *MARKETS}


def _money(value: Any) -> Decimal:
    try:
        return number(value)
    except ValueError:
        raise ValueError(f"must be a number, such as 0.31 (is {value!r})") from None


def _days(value: Any) -> Any:
    """TOML has dates of its own; both ways of writing one are right."""
    if isinstance(value, list):
        return [str(item) if isinstance(item, date) else item for item in value]
    return value


#: per kWh, in the tariff's currency
Money = Annotated[Decimal, BeforeValidator(_money)]
Energy = Annotated[Decimal, BeforeValidator(_money), Field(ge=0)]
Dates = Annotated[tuple[str, ...], BeforeValidator(_days)]


class TimesConfig(Section):
    """Times on the clock on the wall; what is left out holds always."""

    days: str = Field(
        default="",
        description="Such as Mo-Fr or Sa,Su,PH; PH is a day listed in tariff.holidays.",
    )
    hours: str = Field(
        default="", description="On the clock on the wall, such as 22-6 or 2:30-5,18-21."
    )
    months: str = Field(default="", description="Such as Oct-Mar or Jun,Jul.")
    dates: Dates = Field(
        default=(), description="Such as 2026-12-24, 12-24..12-26 or 2026-12-24..2027-01-06."
    )

    @property
    def when(self) -> When:
        """The conditions, ready to be asked."""
        return When.parse(self.days, self.hours, self.months, self.dates)

    @field_validator("days")
    @classmethod
    def _days_are_days(cls, value: str) -> str:
        When.parse(value, "", "", ())
        return value

    @field_validator("hours")
    @classmethod
    def _hours_are_hours(cls, value: str) -> str:
        When.parse("", value, "", ())
        return value

    @field_validator("months")
    @classmethod
    def _months_are_months(cls, value: str) -> str:
        When.parse("", "", value, ())
        return value

    @field_validator("dates")
    @classmethod
    def _dates_are_dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        When.parse("", "", "", value)
        return value


class WhenConfig(TimesConfig):
    """A price, and when it holds."""

    price_per_kwh: Money = Field(description="Per kWh; may be negative.")


class ZoneConfig(WhenConfig):
    """A price at certain times; of several that hold, the last one counts."""

    name: str = Field(default="", description="For you; nothing depends on it.")


class TierConfig(WhenConfig):
    """A price above a monthly use; of several that hold, the last one counts."""

    above_kwh: Energy = Field(
        description="Holds from this use of the household per month; the first tier from 0."
    )


class PathsConfig(Section):
    """Where the prices stand in a JSON answer: names with dots, [] for every element of a list."""

    items: str = Field(
        default="",
        description="The list of prices, such as data.prices[]; empty: start and price name "
        "two lists side by side.",
    )
    start: str = Field(description="Start of a slot: ISO 8601, or seconds or ms since 1970.")
    end: str = Field(default="", description="Its end; empty: where the next one starts.")
    price: str = Field(description="The price.")
    unit: str = Field(default="kWh", description=f"Of the price: {', '.join(UNITS)}.")

    @field_validator("unit")
    @classmethod
    def _unit_is_known(cls, value: str) -> str:
        factor(value)
        return value


class TariffConfig(Section):
    """What electricity costs. Nothing set: costs are unknown, not zero."""

    preset: str = Field(
        default="",
        description="A tariff by name, whose keys count where this table does not set them: "
        "taipower-residential, taipower-tou, octopus-agile, awattar-de and more.",
    )
    currency: str = Field(
        default="", description="Three letters, such as EUR. One currency for everything."
    )
    time_zone: str = Field(
        default="",
        description='Whose clock the hours below mean: "Europe/Berlin", or "UTC-8" where the '
        "utility keeps standard time all year.",
    )
    price_per_kwh: Money | None = Field(
        default=None,
        examples=[0.31],
        description="The price at any time; with zones, the price where none of them holds.",
    )
    vat: Annotated[Decimal, BeforeValidator(_money), Field(ge=0, le=1)] = Field(
        default=Decimal(0),
        description="A fraction, such as 0.19; on everything but prices that carry it already.",
    )
    holidays: Dates = Field(
        default=(), description="Public holidays, such as 2026-12-25, or 12-25 for every year."
    )
    service: Service = Field(
        default="",
        description="Where published prices come from: " + ", ".join(MARKETS) + ".",
    )
    area: str = Field(
        default="", description="The service's name for where you live: DE-LU, SE3, DK1, C."
    )
    product: str = Field(default="", description="octopus: your product, such as AGILE-24-10-01.")
    token_file: str = Field(
        default="", description="File with the service's token; mode 0600. Never in this file."
    )
    url: str = Field(
        default="",
        description="Address of generic_json or home_assistant; for the others instead of "
        "their own. May hold {start}, {end}, {start_ms}, {end_ms}, {start_date}, {end_date}, "
        "and {token} for the token that stands in token_file.",
    )
    entity: str = Field(default="", description="home_assistant: the sensor with the prices.")
    file: str = Field(
        default="", description="csv_file: utc_start,price,currency,unit; read again and again."
    )
    price_includes_vat: bool | None = Field(
        default=None,
        strict=True,
        examples=[False],
        description="Whether the service's prices carry VAT already; unset: what is known of it.",
    )
    other_kwh_per_month: Energy = Field(
        default=Decimal(0),
        description="What the household uses without homerun; decides the tier.",
    )
    billing_day: int = Field(
        default=1, strict=True, ge=1, le=31, description="Day of the month of the meter reading."
    )
    billing_months: int = Field(
        default=1,
        strict=True,
        ge=1,
        le=2,
        description="1, or 2 for a bill every second month, which doubles the tiers.",
    )
    billing_first_month: int = Field(
        default=1,
        strict=True,
        ge=1,
        le=12,
        description="With 2: a month in which a bill begins.",
    )
    adders: dict[str, Money] = Field(
        default_factory=dict,
        examples=[{"grid": 0.08, "levies": 0.02}],
        description="What is added to every kWh, by name: grid fee, levies, margin. Before VAT.",
    )
    paths: PathsConfig | None = Field(
        default=None,
        examples=[{"items": "data[]", "start": "from", "price": "value", "unit": "MWh"}],
        description="For generic_json: where the prices stand in its answer: names with dots, "
        "[] for every element of a list. Keys: items, start, end, price, unit.",
    )
    zones: tuple[ZoneConfig, ...] = Field(
        default=(),
        examples=[[{"price_per_kwh": 0.18, "days": "Mo-Fr", "hours": "22-6", "months": "Oct-Mar"}]],
        description="Prices by time of use; of several that hold, the last one counts. Further "
        "keys: name, dates. The days may hold PH, one of the holidays.",
    )
    tiers: tuple[TierConfig, ...] = Field(
        default=(),
        examples=[[{"above_kwh": 330, "price_per_kwh": 3.13, "months": "Oct-May"}]],
        description="Prices by the household's use per month, on top of all others; of several "
        "that hold, the last one counts. Keys as of zones.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and (preset := presets().get(data.get("preset") or "")):
            return {**preset.table, **data}
        return data

    @field_validator("preset")
    @classmethod
    def _preset_is_known(cls, value: str) -> str:
        if value and value not in presets():
            hint = toml.nearest(value, presets()) or f"known are {', '.join(presets())}"
            raise ValueError(f"no such preset {value!r}; {hint}")
        return value

    @field_validator("currency")
    @classmethod
    def _currency_is_one(cls, value: str) -> str:
        if value and not (len(value) == 3 and value.isascii() and value.isalpha()):
            raise ValueError(f"no currency: {value!r}; write its three letters, such as EUR")
        return value.upper()

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        if value:
            zone_of(value)
        return value

    @field_validator("holidays")
    @classmethod
    def _holidays_are_dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        When.parse("", "", "", value)
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not self.configured:
            return self
        if not self.currency:
            raise contradiction("currency", 'must be set, such as "EUR"')
        if (self.zones or self.tiers or self.holidays) and not self.time_zone:
            raise contradiction(
                "time_zone", 'must be set where times or months matter, such as "Europe/Berlin"'
            )
        thresholds = [tier.above_kwh for tier in self.tiers]
        if thresholds != sorted(thresholds):
            raise contradiction("tiers", "must stand in the order of above_kwh, lowest first")
        if self.service:
            self._check_service()
        return self

    def _check_service(self) -> None:
        market = MARKETS[self.service]
        for key in market.needs:
            if not getattr(self, key):
                raise contradiction(key, f"must be set for {self.service}")
        if market.currencies and self.currency not in market.currencies:
            known = " or ".join(market.currencies)
            raise contradiction("currency", f"{market.title} answers in {known}")

    @property
    def configured(self) -> bool:
        """Whether anything here says what electricity costs."""
        priced = self.price_per_kwh is not None or self.adders
        return bool(priced or self.zones or self.tiers or self.service)
