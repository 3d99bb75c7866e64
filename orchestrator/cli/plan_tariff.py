"""The price that a plan reckons with: the mean of the configured tariff, or one that was given."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Invalid, Misconfigured
from orchestrator.planning.estimate import Tariff

if TYPE_CHECKING:
    from orchestrator.tariff.slots import PriceSlot
    from orchestrator.tariff.table import TariffConfig

#: a week of each month stands for the year
_WEEK, _MONTH = timedelta(days=7), timedelta(days=365) / 12
#: how far the daemon's published and forecast prices are asked for
_HOURS = 24 * 14
_TIMEOUT_SECONDS = 2.0


def given(price: str) -> Tariff:
    """The flat price of ``--price-per-kwh``; raises Invalid."""
    try:
        number = Decimal(price)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise Invalid(f"no price: {price!r}", "write it as 0.32")
    return Tariff(number, source="as given")


def configured(session: Session) -> tuple[Tariff | None, str]:
    """The mean price of the [tariff] table, and a remark when there is none to be had.

    Raises:
        Misconfigured: the file is wrong.
    """
    from orchestrator.settings.config import load

    table = load(session.config, session.env).tariff
    if not table.configured:
        return None, ""
    if table.service:
        return _published(session, table)
    return _fixed(session, table), ""


def _fixed(session: Session, table: TariffConfig) -> Tariff | None:
    from orchestrator.tariff.build import tariff_of

    made = tariff_of(table)
    assert made is not None, "it is configured"
    varies = bool(table.zones or table.tiers)
    begins = [session.now() + month * _MONTH for month in range(12 if varies else 1)]
    mean = _mean(slot for begin in begins for slot in made.slots(begin, begin + _WEEK))
    source = "the mean of a year" if varies else "fixed"
    return None if mean is None else Tariff(mean, table.currency, source)


def _published(session: Session, table: TariffConfig) -> tuple[Tariff | None, str]:
    from orchestrator.cli.price_text import slots_of

    try:
        answer = session.client(_TIMEOUT_SECONDS).get("prices", hours=_HOURS)
        slots = slots_of(answer)
    except Misconfigured:
        raise
    except (HomerunError, KeyError, TypeError, ValueError):
        remark = "no money in this plan: the tariff's prices come from the daemon; start it"
        return None, remark
    mean = _mean(slots)
    if mean is None:
        return None, "no money in this plan: no price is published yet; see homerun prices"
    days = sum(slot.seconds for slot in slots) / 86_400
    return Tariff(mean, table.currency, f"the mean of the next {days:.1f} days"), ""


def _mean(slots: Iterable[PriceSlot]) -> Decimal | None:
    """By time; None without any slot."""
    total = seconds = Decimal(0)
    for slot in slots:
        length = Decimal(slot.seconds)
        total += slot.price * length
        seconds += length
    return total / seconds if seconds else None
