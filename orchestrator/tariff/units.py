"""Units of prices: whatever is written, money per kWh comes out."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_FACTORS = {
    "kWh": Decimal(1),
    "MWh": Decimal("0.001"),
    "0.01/kWh": Decimal("0.01"),
}
UNITS = tuple(_FACTORS)

#: beyond any money for a kWh, in whatever currency
_LIMIT = Decimal(1_000_000)


def factor(unit: str) -> Decimal:
    """What a number in ``unit`` is multiplied by; words behind the unit are a remark.

    Raises:
        ValueError: not one of kWh, MWh, 0.01/kWh.
    """
    word = unit.split()[0] if unit.split() else ""
    if word not in _FACTORS:
        raise ValueError(f"no such unit {unit!r}; known are {', '.join(UNITS)}")
    return _FACTORS[word]


def number(value: object) -> Decimal:
    """A price as JSON, TOML or CSV writes it, exactly as written.

    Raises:
        ValueError: it is no number, or none that a price can be.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"no number: {value!r}")
    try:
        # the shortest text of a double is the number that somebody wrote
        price = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"no number: {str(value)[:40]!r}") from None
    if not price.is_finite() or abs(price) > _LIMIT:
        raise ValueError(f"no price: {str(value)[:40]}")
    return price
