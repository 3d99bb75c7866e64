"""A meter at the wall, asked over the network: Shelly, Tasmota, Home Assistant, a UPS.

Schemas: Shelly's device API (Gen1 ``/meter/0``, Gen2 and later ``/rpc/Switch.GetStatus``),
Tasmota's commands (``Status 8``), Home Assistant's REST API (``/api/states``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from orchestrator.home.ups import Ups, UpsError
from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.services.base import FetchFailed, ask_json, bearer
from orchestrator.tariff.units import number

T = TypeVar("T")

#: no socket at home carries more
_MOST_WATTS = 20_000.0
_WATTS = {"w": 1.0, "kw": 1e3}
_JOULES = {"wh": 3.6e3, "kwh": 3.6e6, "mwh": 3.6e9}


@dataclass(frozen=True)
class PlugReading:
    """One answer: the power now, or a counter of energy where there is no more."""

    watts: float | None = None
    total_joules: float | None = None


class PlugError(Exception):
    """The meter did not answer, or nothing that can be believed. Its text holds no secret."""


class Plug(Protocol):
    """One reading a call; it may wait for a network and is never called by the tick."""

    def read(self) -> PlugReading:
        """Raises PlugError."""


class FakePlug:
    """A plug that says what it is told; a text is an error."""

    def __init__(self, says: PlugReading | str = PlugReading(300.0)) -> None:
        self.says = says

    def read(self) -> PlugReading:
        if isinstance(self.says, str):
            raise PlugError(self.says)
        return self.says


class ShellyPlug:
    """A Shelly of any generation; it says itself which one it is."""

    def __init__(self, http: Http, address: str, channel: int = 0) -> None:
        self._http = http
        self._address = address.rstrip("/")
        self._channel = channel
        self._generation = 0

    def read(self) -> PlugReading:
        """See ``Plug.read``."""
        if not self._generation:
            self._generation = _ask(self._http, f"{self._address}/shelly", _generation)
        if self._generation >= 2:
            url = f"{self._address}/rpc/Switch.GetStatus?id={self._channel}"
            return _ask(self._http, url, lambda plain: PlugReading(_watts(plain["apower"])))
        return _ask(self._http, f"{self._address}/meter/{self._channel}", _first_generation)


class TasmotaPlug:
    """A socket with Tasmota on it."""

    def __init__(self, http: Http, address: str, channel: int = 0, password: str = "") -> None:
        self._http = http
        self._channel = channel
        login = {"user": "admin", "password": password} if password else {}
        query = urlencode({"cmnd": "Status 8", **login}, quote_via=quote)
        self._url = f"{address.rstrip('/')}/cm?{query}"

    def read(self) -> PlugReading:
        """See ``Plug.read``."""
        return _ask(self._http, self._url, self._understand)

    def _understand(self, plain: Any) -> PlugReading:
        if "WARNING" in plain:
            raise ValueError("it wants its password: write it into power.token_file")
        power = plain["StatusSNS"]["ENERGY"]["Power"]
        # sockets with several channels tell a list
        return PlugReading(_watts(power[self._channel] if isinstance(power, list) else power))


@dataclass(frozen=True)
class HomeAssistantPlug:
    """A sensor of power (W, kW) or of energy (Wh, kWh, MWh)."""

    http: Http
    address: str
    entity: str
    token: str = field(repr=False)

    def read(self) -> PlugReading:
        """See ``Plug.read``."""
        url = f"{self.address.rstrip('/')}/api/states/{quote(self.entity, safe='.')}"
        return _ask(self.http, url, _sensor, self.token)


class UpsPlug:
    """What hangs on a UPS, as far as it measures that."""

    def __init__(self, ups: Ups) -> None:
        self._ups = ups

    def read(self) -> PlugReading:
        """See ``Plug.read``."""
        try:
            watts = self._ups.read().load_watts
        except UpsError as error:
            raise PlugError(str(error)) from None
        if watts is None:
            raise PlugError("the UPS does not say how much hangs on it")
        return PlugReading(watts)


def _ask(http: Http, url: str, understand: Callable[[Any], T], token: str = "") -> T:
    try:
        return ask_json(http, Request(url, headers=bearer(token) if token else {}), understand)
    except FetchFailed as error:
        raise PlugError(error.reason) from None


def _generation(plain: Any) -> int:
    if "gen" in plain:
        return int(plain["gen"])
    if "type" in plain:
        return 1
    raise ValueError("it does not say that it is a Shelly")


def _first_generation(plain: Any) -> PlugReading:
    if plain.get("is_valid") is False:
        raise ValueError("it says that its own reading is not valid")
    return PlugReading(_watts(plain["power"]))


def _sensor(plain: Any) -> PlugReading:
    state = plain["state"]
    if state in ("unavailable", "unknown"):
        raise ValueError(f"the sensor is {state}")
    unit = str(plain["attributes"].get("unit_of_measurement", ""))
    value = number(state)
    if scale := _WATTS.get(unit.lower()):
        return PlugReading(_watts(value, scale))
    if unit.lower() not in _JOULES:
        raise ValueError(f"the sensor's unit is {unit[:20]!r}, not one of W, kW, Wh, kWh, MWh")
    if value < 0:
        raise ValueError(f"no counter: {value}")
    return PlugReading(total_joules=float(value) * _JOULES[unit.lower()])


def _watts(value: Any, scale: float = 1.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"no power: {str(value)[:20]!r}")
    watts = float(value) * scale
    if not 0.0 <= watts <= _MOST_WATTS:
        raise ValueError(f"no power of a PC: {watts:g} W")
    return watts
