"""The schedule and the goal over HTTP."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from .conftest import Site
from .test_reading import get, problem


def test_the_schedule_is_told_slot_by_slot_without_a_gap(site: Site) -> None:
    told = get(site, "schedule?hours=30")
    slots = told["slots"]
    assert {"start", "end", "price", "currency", "forecast", "state", "cap_watts", "reason"} == set(
        slots[0]
    )
    assert all(a["end"] == b["start"] for a, b in itertools.pairwise(slots))
    assert slots[0]["start"] == told["time"]
    assert {slot["state"] for slot in slots} == {"off", "run"}
    assert told["cost"] < told["always_on_cost"]
    assert told["next_change"] in {slot["start"] for slot in slots}
    assert told["gap_ratio"] <= 0.0005
    assert told["finish"] <= told["deadline"]


def test_a_wait_is_called_dear_only_where_something_cheaper_follows(site: Site) -> None:
    slots = get(site, "schedule?hours=72")["slots"]
    verdicts = set()
    for place, slot in enumerate(slots):
        following = next((s for s in slots[place:] if s["state"] == "run"), None)
        if slot["state"] == "off" and following is not None:
            cheaper = following["price"] < slot["price"]
            assert ("is too dear" in slot["reason"]) == cheaper
            assert ("is not needed for the goal" in slot["reason"]) != cheaper
            verdicts.add(cheaper)
    assert verdicts == {True, False}


def test_the_curve_goes_from_the_earliest_finish_to_the_deadline_and_falls(site: Site) -> None:
    curve = get(site, "schedule/curve")
    costs = [point["cost"] for point in curve["points"]]
    assert len(costs) > 3
    assert costs == sorted(costs, reverse=True)
    assert curve["points"][-1]["by"] == curve["deadline"]
    assert "saves" in curve["remark"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"seconds": 86_400}, "deadline"),
        ({"until": "2036-11-01T12:00:00+01:00"}, "deadline"),
        ({"slack": 0.5}, "slack"),
        ({"budget": "25.50"}, "budget"),
        ({"value": 0.02}, "value"),
        ({}, "off"),
    ],
)
def test_a_goal_of_each_kind_is_set(site: Site, body: dict[str, Any], kind: str) -> None:
    answer = site.client.post("/api/v1/runs/evening/goal", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] == kind


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"slack": 0.5, "budget": 3}, "give one of deadline, slack, budget and value"),
        ({"slack": -1}, "slack: must be at least 0"),
        ({"slack": 11}, "slack: must be 0 to 10"),
        ({"budget": 0}, "budget: must be an amount of money above 0"),
        ({"budget": "much"}, "budget: must be an amount such as 25.50, not 'much'"),
        ({"value": True}, "value: must be a number, not true or false"),
        ({"until": "2001-01-01T00:00:00Z"}, "has passed"),
        ({"deadline": "2036-01-01"}, "key 'deadline'"),
    ],
)
def test_a_wrong_goal_is_told_what_is_wrong(
    site: Site, body: dict[str, Any], complaint: str
) -> None:
    answer = site.client.post("/api/v1/runs/evening/goal", json=body)
    assert answer.status_code == 400
    assert complaint in problem(answer)["message"]
