"""From the [power] table to a meter."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import Clock
from orchestrator.home.meter import EstimatedMeter, Meter, NvmlMeter, RaplMeter, best_meter
from orchestrator.home.nut import NutUps
from orchestrator.home.plug import HomeAssistantPlug, Plug, ShellyPlug, TasmotaPlug, UpsPlug
from orchestrator.home.wall_meter import WallMeter, WallModel, WithModel
from orchestrator.settings.power_config import PowerConfig
from orchestrator.tariff.http import Http, RealHttp

if TYPE_CHECKING:
    from orchestrator.settings.config import UpsConfig

#: in the home's own network; a proxy has no business there
TIMEOUT_SECONDS = 3.0
_MAX_BYTES = 256_000


def meter_of(
    power: PowerConfig, ups: UpsConfig, clock: Clock, stack: contextlib.ExitStack
) -> Meter:
    """The configured meter, at work; ``stack`` ends it.

    Raises:
        Misconfigured: the meter that was asked for by name is not there.
    """
    if power.meter == "auto":
        return best_meter(clock, power.idle_watts, power.busy_watts)
    if power.meter in ("nvml", "rapl"):
        return _own_meter(power, clock)
    model = _model(power, clock)
    if power.meter == "model":
        return model
    source = "nut" if power.meter == "nut" else "plug"
    wall = WallMeter(plug_of(power, ups, lan(clock)), clock, source, power.poll)
    wall.start()
    stack.callback(wall.close)
    return WithModel(wall, model)


def plug_of(power: PowerConfig, ups: UpsConfig, http: Http) -> Plug:
    """What is asked, without asking it.

    Raises:
        Misconfigured: its token cannot be read, or there is no UPS.
    """
    match power.meter:
        case "shelly":
            return ShellyPlug(http, power.address, power.channel)
        case "tasmota":
            return TasmotaPlug(http, power.address, power.channel, _secret(power))
        case "home_assistant":
            return HomeAssistantPlug(http, power.address, power.entity, _secret(power))
    if not ups.name:
        raise Misconfigured("power.meter is nut, and there is no UPS", "set ups.name")
    return UpsPlug(NutUps(ups.name, ups.host, ups.port))


def lan(clock: Clock) -> Http:
    """The home's own network."""
    return RealHttp(clock, TIMEOUT_SECONDS, proxies={}, max_bytes=_MAX_BYTES)


def _own_meter(power: PowerConfig, clock: Clock) -> Meter:
    try:
        return NvmlMeter(clock) if power.meter == "nvml" else RaplMeter(clock)
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"power.meter is {power.meter}, which this machine does not have: {error}",
            'set power.meter = "auto"',
        ) from None


def _model(power: PowerConfig, clock: Clock) -> Meter:
    try:
        return WallModel(NvmlMeter(clock), power.rest_watts, power.psu_efficiency)
    except OSError:
        return EstimatedMeter(power.idle_watts, power.busy_watts)


def _secret(power: PowerConfig) -> str:
    if not power.token_file:
        return ""
    try:
        return Path(power.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"power.token_file {power.token_file} cannot be read: {error}",
            "write the meter's token or password into it (mode 0600)",
        ) from None
