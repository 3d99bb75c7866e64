"""What all services share: what they answer, how they fail, and JSON without surprises."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from orchestrator.tariff.http import Http, Reply, Request, Unreachable
from orchestrator.tariff.markets import Market
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from orchestrator.tariff.spans import lengths
from orchestrator.tariff.units import number

T = TypeVar("T")

#: a number of seconds beyond this is one of milliseconds: the year 5138
_MILLISECONDS_FROM = 100_000_000_000
_LAST_MILLISECOND = 1000 * _MILLISECONDS_FROM


class Trouble(enum.StrEnum):
    """Why there are no prices, by what helps."""

    #: wait for the publication
    NOT_YET = "not_yet"
    #: ask less often
    BUSY = "busy"
    #: try again: it is down, slow, or answered half
    BROKEN = "broken"
    #: it answered something that cannot be believed
    RUBBISH = "rubbish"
    #: a person must change something: token, area, address
    DENIED = "denied"


class FetchFailed(Exception):
    """No prices. ``reason`` holds no address and no token."""

    def __init__(
        self, trouble: Trouble, reason: str, retry_after_seconds: float | None = None
    ) -> None:
        self.trouble = trouble
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{trouble}: {reason}")


@dataclass(frozen=True)
class Published:
    """What a service answered. Not final: ask again, for it may still change."""

    series: PriceSeries
    final: bool = True


class PriceService(Protocol):
    """One source of published prices, set up for one area."""

    @property
    def market(self) -> Market: ...

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        """The prices of [start, end), or what of them is published; in the tariff's currency.

        Args:
            start: a midnight on the market's clock, as is ``end``.

        Raises:
            FetchFailed: there are none, with what helps.
        """


def ask(http: Http, request: Request) -> Reply:
    """The reply if it is one with content; raises FetchFailed."""
    try:
        reply = http.send(request)
    except Unreachable as error:
        raise FetchFailed(Trouble.BROKEN, str(error)) from None
    status = f"HTTP status {reply.status}"
    match reply.status:
        case 200:
            return reply
        case 204 | 404:
            raise FetchFailed(Trouble.NOT_YET, f"nothing there yet ({status})")
        case 429 | 503 if reply.status == 429 or "retry-after" in reply.headers:
            raise FetchFailed(Trouble.BUSY, f"too many requests ({status})", retry_after(reply))
        case 401 | 403:
            raise FetchFailed(Trouble.DENIED, f"it refuses the token ({status})")
        case code if 400 <= code < 500:
            raise FetchFailed(Trouble.DENIED, f"it does not understand what is asked ({status})")
    raise FetchFailed(Trouble.BROKEN, f"it failed ({status})")


def retry_after(reply: Reply) -> float | None:
    """Seconds that the service wants to be left alone (RFC 9110, 10.2.3)."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        # by the service's own clock, for ours may differ
        there = parsedate_to_datetime(reply.headers["date"])
        return max(0.0, (parsedate_to_datetime(text) - there).total_seconds())
    except (ValueError, KeyError, TypeError):
        return None


def ask_json(http: Http, request: Request, understand: Callable[[Any], T]) -> T:
    """What ``understand`` makes of the JSON answer; numbers arrive as int or exact Decimal."""
    reply = ask(http, request)
    try:
        plain = json.loads(reply.body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        start = reply.body[:200].lstrip()
        what = "a web page" if start.startswith(b"<") else "no JSON"
        raise FetchFailed(Trouble.RUBBISH, f"it answered {what}") from None
    return understood(lambda: understand(plain))


def understood(read: Callable[[], T]) -> T:
    """The result of reading an answer; whatever is wrong with its form is RUBBISH."""
    try:
        return read()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else error
        text = re.sub(r"\s+", " ", str(what))[:120]
        raise FetchFailed(Trouble.RUBBISH, f"not the documented form ({text})") from None


def series_of(currency: str, prices: Iterable[tuple[datetime, Decimal | None]]) -> PriceSeries:
    """Slots from their starts alone, in any order; None is a missing price, repetitions one slot.

    Raises:
        FetchFailed: two different prices for one start, or no price at all (NOT_YET).
    """
    known: dict[datetime, Decimal | None] = {}
    for start, price in prices:
        if known.setdefault(start, price) != price:
            raise FetchFailed(Trouble.RUBBISH, f"two prices for {start:%Y-%m-%dT%H:%MZ}")
    starts = sorted(known)
    slots = []
    for start, span in zip(starts, lengths(starts), strict=True):
        price = known[start]
        if price is not None:
            slots.append(PriceSlot(start, start + span, price))
    return series_of_slots(currency, slots)


def series_of_slots(currency: str, slots: Sequence[PriceSlot]) -> PriceSeries:
    """The series; without any slot it is NOT_YET."""
    if not slots:
        raise FetchFailed(Trouble.NOT_YET, "nothing there yet (an empty answer)")
    return PriceSeries(currency, tuple(sorted(slots, key=lambda slot: slot.start)))


def money(value: object, factor: Decimal) -> Decimal | None:
    """A price per kWh; null is a missing one. Raises ValueError."""
    return None if value is None else number(value) * factor


def instant(value: object) -> datetime:
    """ISO 8601 with an offset, or seconds or milliseconds since 1970; raises ValueError."""
    if isinstance(value, str) and not value.strip().lstrip("-").isdigit():
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            raise ValueError(f"{value!r} has no offset")
        return moment.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError(f"no time: {str(value)[:40]!r}")
    seconds = Decimal(value)
    if not seconds.is_finite() or abs(seconds) > _LAST_MILLISECOND:
        raise ValueError(f"no time: {str(value)[:40]!r}")
    if abs(seconds) >= _MILLISECONDS_FROM:
        seconds /= 1000
    return datetime.fromtimestamp(float(seconds), UTC)


def require_unit(found: object, *known: str) -> None:
    """A unit that is not the documented one means prices a thousand times too high or low."""
    text = re.sub(r"\s+", "", str(found)).lower()
    if text not in known:
        raise ValueError(f"unit {str(found)[:20]!r} instead of {known[0]}")


def base_url(configured: str, default: str) -> str:
    """The address without a slash at its end."""
    return (configured or default).rstrip("/")


def bearer(token: str) -> Mapping[str, str]:
    """The header that shows the token."""
    return {"Authorization": f"Bearer {token}"}


def _no_number(name: str) -> Decimal:
    raise ValueError(f"{name} is no number")
