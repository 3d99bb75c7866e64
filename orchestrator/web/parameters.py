"""What a request asks: its query and its JSON body, checked key by key.

Everything wrong is an ``Invalid`` that names the key, what was expected and what came.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from starlette.requests import Request

from orchestrator.errors import Invalid
from trainer.contract import toml

#: nobody pauses for longer; keeps sums of times within what datetime can hold
MAX_SECONDS = 10 * 366 * 86_400
#: the longest free text of a person
MAX_TEXT = 500
BIGGEST = (1 << 63) - 1

E = TypeVar("E", bound=StrEnum)


class Query:
    """The query string. Each key at most once, and only known ones."""

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        self._values = _once(request)
        refuse_unknown(self._values, known, "parameter")

    def text(self, name: str) -> str | None:
        """A text, or None when it is absent; an empty one is refused."""
        value = self._values.get(name)
        if value is None:
            return None
        return checked_text(name, value, empty=False)

    def choice(self, name: str, default: E) -> E:
        """One of the words of an enumeration, of which ``default`` is one."""
        value = self._values.get(name)
        if value is None:
            return default
        words = [str(member.value) for member in type(default)]
        if value not in words:
            raise Invalid(f"{name}: must be one of {', '.join(words)}, not {value[:40]!r}")
        return type(default)(value)

    def number(self, name: str, default: int, low: int, high: int = BIGGEST) -> int:
        """A whole number between ``low`` and ``high``."""
        value = self._values.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdecimal() and len(value) < 20):
            raise Invalid(f"{name}: must be a whole number, not {value[:40]!r}")
        return in_range(name, int(value), low, high)


class Body:
    """The JSON object that came with a request. An empty body is an empty object."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text, or ``default`` when it is absent or null; an empty one is refused."""
        value = self._values.get(name)
        return default if value is None else checked_text(name, value, empty=False)

    def required(self, name: str) -> str:
        """A text that must be there."""
        value = self.text(name)
        if value is None:
            raise Invalid(f"{name}: missing")
        return value

    def remark(self, name: str) -> str:
        """A free text of a person; absent, null and empty are the same."""
        value = self._values.get(name)
        return "" if value is None else checked_text(name, value, empty=True).strip()

    def has(self, name: str) -> bool:
        """Whether the key came, with whatever value."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """True or false; false when it is absent."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise Invalid(f"{name}: must be true or false, not {_kind(value)}")
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number between ``low`` and ``high``."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(f"{name}: must be a whole number, not {_kind(value)}")
        return in_range(name, value, low, high)

    def positive(self, name: str) -> float | None:
        """A number of at least 0, or None when it is absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"{name}: must be a number, not {_kind(value)}")
        if not 0 <= value <= BIGGEST:
            raise Invalid(f"{name}: must be at least 0 and finite")
        return float(value)

    def money(self, name: str) -> Decimal | None:
        """An amount, exact when it comes as a text; None when it is absent or null."""
        value = self._values.get(name)
        if not isinstance(value, str):
            number = self.positive(name)
            return None if number is None else Decimal(str(number))
        try:
            return Decimal(checked_text(name, value, empty=False).strip())
        except InvalidOperation:
            raise Invalid(f"{name}: must be an amount such as 25.50, not {value[:40]!r}") from None

    def table(self, name: str) -> dict[str, Any]:
        """An object; it must be there."""
        if name not in self._values:
            raise Invalid(f"{name}: missing")
        value = self._values[name]
        if not isinstance(value, dict):
            raise Invalid(f"{name}: must be an object, not {_kind(value)}")
        return value

    def given(self, name: str) -> bool:
        """Whether it came, and not as null."""
        return self._values.get(name) is not None

    def end(self, now: datetime) -> datetime | None:
        """When something ends: ``until`` (ISO 8601 with its zone) or ``seconds`` from ``now``."""
        until, seconds = self._values.get("until"), self._values.get("seconds")
        if until is not None and seconds is not None:
            raise Invalid("until, seconds: give one of them, not both")
        if seconds is not None:
            return now + timedelta(seconds=_seconds(seconds))
        return None if until is None else _time(until)


async def read_body(request: Request, known: Iterable[str]) -> Body:
    """The request's JSON object with only ``known`` keys.

    Raises:
        Invalid: it is no JSON, no object, or has other keys.
    """
    raw = await request.body()
    if not raw.strip():
        return Body({})
    try:
        values = json.loads(raw, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {_one_line(error)}") from None
    if not isinstance(values, dict):
        raise Invalid(f"the body must be a JSON object, not {_kind(values)}")
    _refuse_unwritable(values)
    refuse_unknown(values, known, "key")
    return Body(values)


def checked_text(name: str, value: Any, *, empty: bool) -> str:
    """``value`` if it is a printable text of a sane length; raises Invalid."""
    if not isinstance(value, str):
        raise Invalid(f"{name}: must be a text, not {_kind(value)}")
    if not empty and not value.strip():
        raise Invalid(f"{name}: must not be empty")
    if len(value) > MAX_TEXT:
        raise Invalid(f"{name}: at most {MAX_TEXT} characters (has {len(value)})")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in value):
        raise Invalid(f"{name}: must be one line without control characters")
    return value


def in_range(name: str, value: int, low: int, high: int) -> int:
    """``value`` if it lies within; raises Invalid."""
    if value < low:
        raise Invalid(f"{name}: must be at least {low} (is {value})")
    if value > high:
        raise Invalid(f"{name}: must be at most {high}")
    return value


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises Invalid for a key that nobody reads, naming the nearest known one."""
    names = sorted(known)
    for name in given:
        if name not in names:
            hint = toml.unknown_key(name, names) if names else "nothing is expected here"
            raise Invalid(f"{what} {name[:60]!r}: {hint}")


def _once(request: Request) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise Invalid(f"{name}: given twice")
        values[name] = value
    return values


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"seconds: must be a number, not {_kind(value)}")
    if not 0 < value <= MAX_SECONDS or not math.isfinite(value):
        raise Invalid(f"seconds: must be above 0 and at most {MAX_SECONDS} (is {value!r:.40})")
    return float(value)


def _time(value: Any) -> datetime:
    example = "write it as 2026-12-01T18:00:00+01:00"
    if not isinstance(value, str):
        raise Invalid(f"until: must be a time as text, not {_kind(value)}", example)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise Invalid(f"until: {value!r} does not say in which zone", example)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"until: {value[:60]!r} is no ISO 8601 time", example) from None


def _refuse_unwritable(values: Any) -> None:
    """Half a surrogate pair is JSON but no text: nothing could write it down."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Invalid("the body is not JSON: it holds half a surrogate pair") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is given twice")
    return values


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return " ".join(str(error).split())[:200]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        str: "a text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]
