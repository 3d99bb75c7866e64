"""A UPS by Network UPS Tools: upsd's line protocol over TCP (RFC 9271), read only.

One short connection a reading: nothing to keep alive over a month, and a server that was
restarted is simply asked again.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator

from orchestrator.home.ups import UpsError, UpsReading

PORT = 3493
#: upsd answers from its memory; what takes longer is as good as no answer
_TIMEOUT_SECONDS = 3.0
#: more lines than any UPS has variables
_MOST_LINES = 4096


class NutUps:
    """One UPS of one upsd."""

    def __init__(
        self,
        name: str,
        host: str = "127.0.0.1",
        port: int = PORT,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._name = name
        self._address = (host, port)
        self._timeout_seconds = timeout_seconds

    def read(self) -> UpsReading:
        """See ``Ups.read``."""
        try:
            with socket.create_connection(self._address, self._timeout_seconds) as connection:
                connection.settimeout(self._timeout_seconds)
                connection.sendall(f"LIST VAR {self._name}\n".encode())
                with connection.makefile("r", encoding="utf-8", errors="replace") as lines:
                    return reading(dict(_variables(lines)))
        except OSError as error:
            host, port = self._address
            raise UpsError(f"upsd at {host}:{port} does not answer: {error}") from None


def reading(variables: dict[str, str]) -> UpsReading:
    """What NUT's variables of a UPS say (docs/nut-names.txt of NUT).

    Raises:
        UpsError: it says nothing about mains or battery.
    """
    status = variables.get("ups.status", "").split()
    if not {"OL", "OB", "FSD"} & set(status):
        raise UpsError(f"the UPS does not say whether it is on battery: {' '.join(status) or '?'}")
    charge = _number(variables, "battery.charge")
    return UpsReading(
        on_battery="OB" in status,
        low_battery="LB" in status,
        forced_shutdown="FSD" in status,
        charge_ratio=None if charge is None else min(1.0, max(0.0, charge / 100)),
        runtime_seconds=_number(variables, "battery.runtime"),
        load_watts=_load_watts(variables),
    )


def _load_watts(variables: dict[str, str]) -> float | None:
    watts = _number(variables, "ups.realpower")
    load, nominal = _number(variables, "ups.load"), _number(variables, "ups.realpower.nominal")
    if watts is None and load is not None and nominal is not None:
        watts = load / 100 * nominal
    return watts


def _number(variables: dict[str, str], name: str) -> float | None:
    try:
        value = float(variables[name])
    except (KeyError, ValueError):
        return None
    return value if 0.0 <= value < 1e9 else None


def _variables(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """The pairs between BEGIN and END. Raises UpsError for ERR and for a list that breaks off."""
    for _, line in zip(range(_MOST_LINES), lines, strict=False):
        words = _words(line)
        match words:
            case ["ERR", problem, *_]:
                raise UpsError(_ERRORS.get(problem, f"upsd says {problem}"))
            case ["VAR", _, name, value]:
                yield name, value
            case ["END", *_]:
                return
    raise UpsError("upsd's answer broke off")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


_ERRORS = {
    "DATA-STALE": "the UPS' driver has not heard from the UPS for a while (DATA-STALE)",
    "DRIVER-NOT-CONNECTED": "the UPS' driver does not run (DRIVER-NOT-CONNECTED)",
    "UNKNOWN-UPS": "upsd knows no UPS of this name (UNKNOWN-UPS)",
    "ACCESS-DENIED": "upsd refuses us (ACCESS-DENIED)",
}
