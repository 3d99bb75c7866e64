"""What Home Assistant is told, word by word: pure, no broker needed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.domain import Bill, Effect, Hold, Reason
from orchestrator.home_assistant import Topics, discovery, state
from orchestrator.settings.config import Config
from orchestrator.settings.mqtt_config import MqttConfig
from orchestrator.web.fake import FakeBackend

TOPICS = Topics("homerun", "homeassistant")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_what_is_unknown_is_null_and_never_zero() -> None:
    backend = FakeBackend()
    backend.show(loss=None, tokens_per_second=None, eta=None)
    # nothing of it was ever paid in this currency
    shown = json.loads(state(TOPICS, backend.snapshot(), "SEK").payload)
    assert {shown[key] for key in ("loss", "tokens_per_second", "finish", "cost")} == {None}
    backend.empty()
    shown = json.loads(state(TOPICS, backend.snapshot(), "EUR").payload)
    assert shown["run"] is None
    assert shown["step"] is None
    assert shown["phase"] == "idle"


def test_the_bill_is_that_of_the_run_in_the_tariffs_currency() -> None:
    def bill(run: str, currency: str, cost: str | None) -> Bill:
        amount = None if cost is None else Decimal(cost)
        return Bill(run, currency, amount, Decimal(40), None, None)

    snapshot = FakeBackend().snapshot()
    assert snapshot.run is not None
    name = snapshot.run.name
    mine, others = bill(name, "EUR", "12.34567"), [bill("x", "EUR", "5"), bill(name, "USD", "9")]

    def shown(*bills: Bill) -> Any:
        told = replace(snapshot, bills=bills)
        return json.loads(state(TOPICS, told, "EUR").payload)["cost"]

    assert shown(*others, mine) == 12.3457
    assert shown(*others, bill(name, "EUR", None)) is None


def test_a_tariff_that_holds_is_no_pause_of_a_person() -> None:
    backend = FakeBackend()
    backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", NOW))
    shown = json.loads(state(TOPICS, backend.snapshot(), "").payload)
    assert (shown["allowed"], shown["training"], shown["held_by"]) == ("ON", "OFF", "tariff")


def test_without_a_tariff_there_is_no_cost_and_all_ids_differ() -> None:
    messages = discovery(TOPICS, "1", "http://x", "")
    contents = [json.loads(message.payload) for message in messages]
    assert all(message.retain for message in messages)
    ids = [content["unique_id"] for content in contents]
    assert len(set(ids)) == len(ids) == 14
    assert "homerun_cost" not in ids


def test_the_table_says_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match="must be set when password_file is"):
        MqttConfig(host="h", password_file="f")
    with pytest.raises(ValueError, match="must be true when ca_file is set"):
        MqttConfig(host="h", ca_file="f")
    with pytest.raises(ValueError, match="prefix"):
        MqttConfig(prefix="a/#")
    assert Config().mqtt.host == ""
