"""homerun as a device of Home Assistant: what it is told once, what it is told again. Pure.

The form of the discovery messages: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
One message an entity, which every version of Home Assistant since 2021 understands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain import Effect, Hold, Reason, Snapshot, to_json
from orchestrator.home.broker import Message

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
#: an attribute of Home Assistant holds so much, a state 255
_LONGEST_STATE = 255
#: the holds that the switch sets and lifts, as homerun pause and homerun resume do
_OF_PEOPLE = (Reason.USER, Reason.CRASH_LOOP)


@dataclass(frozen=True)
class Topics:
    """Where is what."""

    prefix: str
    discovery: str

    @property
    def state(self) -> str:
        """Everything that the sensors show, as one JSON object."""
        return f"{self.prefix}/state"

    @property
    def availability(self) -> str:
        """online or offline."""
        return f"{self.prefix}/availability"

    @property
    def command(self) -> str:
        """ON lets it run, OFF pauses it."""
        return f"{self.prefix}/run/set"


@dataclass(frozen=True)
class _Entity:
    kind: str
    key: str
    name: str
    icon: str
    more: dict[str, Any]


def _sensor(key: str, name: str, icon: str, **more: Any) -> _Entity:
    return _Entity("sensor", key, name, f"mdi:{icon}", more)


def _entities(currency: str) -> list[_Entity]:
    found = [
        _sensor("headline", "Headline", "text-short"),
        _sensor("phase", "Phase", "state-machine"),
        _sensor("held_by", "Held by", "hand-back-left"),
        _sensor("run", "Run", "tag"),
        _sensor("step", "Step", "counter", state_class="measurement"),
        _sensor(
            "progress",
            "Progress",
            "progress-check",
            unit_of_measurement="%",
            state_class="measurement",
            suggested_display_precision=1,
        ),
        _sensor(
            "loss",
            "Loss",
            "chart-bell-curve-cumulative",
            state_class="measurement",
            suggested_display_precision=3,
        ),
        _sensor(
            "tokens_per_second",
            "Speed",
            "speedometer",
            unit_of_measurement="tokens/s",
            state_class="measurement",
            suggested_display_precision=0,
        ),
        _sensor(
            "power",
            "Power",
            "flash",
            unit_of_measurement="W",
            device_class="power",
            state_class="measurement",
        ),
        _sensor(
            "energy",
            "Energy",
            "lightning-bolt",
            unit_of_measurement="kWh",
            device_class="energy",
            state_class="total",
            suggested_display_precision=2,
        ),
        _sensor("finish", "Finish", "flag-checkered", device_class="timestamp"),
        _sensor("next_change", "Next change of the plan", "update", device_class="timestamp"),
        _Entity(
            "binary_sensor",
            "training",
            "Training",
            "mdi:brain",
            {"device_class": "running", "payload_on": ON, "payload_off": OFF},
        ),
    ]
    if currency:
        found.append(
            _sensor(
                "cost",
                "Cost",
                "cash",
                unit_of_measurement=currency,
                device_class="monetary",
                state_class="total",
                suggested_display_precision=2,
            )
        )
    return found


def discovery(topics: Topics, version: str, address: str, currency: str) -> list[Message]:
    """Tells Home Assistant of the device; retained, so that it also learns of it later.

    Args:
        address: where the page is.
        currency: of the tariff; empty leaves the cost out.
    """
    shared = {
        "availability_topic": topics.availability,
        "state_topic": topics.state,
        "device": {
            "identifiers": [topics.prefix],
            "name": topics.prefix,
            "manufacturer": "homerun",
            "model": "nanochat trainer",
            "sw_version": version,
            "configuration_url": address,
        },
        "origin": {"name": "homerun", "sw_version": version},
    }
    entities = _entities(currency)
    messages = [_found(topics, entity, shared) for entity in entities]
    switch = _Entity(
        "switch",
        "allowed",
        "May run",
        "mdi:play-pause",
        {
            "command_topic": topics.command,
            "payload_on": ON,
            "payload_off": OFF,
            "optimistic": False,
        },
    )
    return [*messages, _found(topics, switch, shared)]


def _found(topics: Topics, entity: _Entity, shared: dict[str, Any]) -> Message:
    content = {
        "name": entity.name,
        "unique_id": f"{topics.prefix}_{entity.key}",
        "icon": entity.icon,
        # null reads as "unknown" there, as it does here
        "value_template": f"{{{{ value_json.{entity.key} }}}}",
        **entity.more,
        **shared,
    }
    topic = f"{topics.discovery}/{entity.kind}/{topics.prefix}/{entity.key}/config"
    return Message(topic, json.dumps(content, sort_keys=True), retain=True)


def state(topics: Topics, snapshot: Snapshot, currency: str) -> Message:
    """What all entities show now."""
    run, effect = snapshot.run, snapshot.setpoint.effect
    training = run is not None and run.phase == "train" and effect in (Effect.RUN, Effect.CAP)
    content = {
        "headline": snapshot.headline[:_LONGEST_STATE],
        "held_by": held_by(snapshot.holds),
        "allowed": OFF if _paused_by_people(snapshot.holds) else ON,
        "training": ON if training else OFF,
        "run": run.name if run else None,
        "phase": run.phase if run else "idle",
        "step": run.step if run else None,
        "progress": round(run.progress * 100, 2) if run else None,
        "loss": _rounded(run.loss, 4) if run else None,
        "tokens_per_second": _rounded(run.tokens_per_second, 0) if run else None,
        "power": _rounded(run.power.watts, 0) if run else None,
        "energy": round(run.energy_joules / 3.6e6, 3) if run else None,
        "finish": _minute(run.eta) if run else None,
        "next_change": _minute(snapshot.plan.next_change) if snapshot.plan else None,
        "cost": _cost(snapshot, currency) if run else None,
    }
    return Message(topics.state, json.dumps(to_json(content)), retain=True)


def held_by(holds: Sequence[Hold]) -> str:
    """``user, quiet_hours``, or ``nothing``."""
    return ", ".join(dict.fromkeys(hold.reason.value for hold in holds)) or "nothing"


def _paused_by_people(holds: Sequence[Hold]) -> bool:
    return any(
        hold.reason in _OF_PEOPLE and hold.effect not in (Effect.RUN, Effect.CAP) for hold in holds
    )


def _cost(snapshot: Snapshot, currency: str) -> float | None:
    """In the tariff's currency, which the sensor has for its unit."""
    run = snapshot.run.name if snapshot.run else ""
    costs = [
        float(bill.cost)
        for bill in snapshot.bills
        if (bill.run, bill.currency) == (run, currency) and bill.cost is not None
    ]
    return round(sum(costs), 4) if costs else None


def _minute(moment: datetime | None) -> datetime | None:
    """Without seconds, which would make every message a new one."""
    return None if moment is None else moment.replace(second=0, microsecond=0)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
