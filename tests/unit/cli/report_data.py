"""Three weeks of a run as the API would tell them; the same at every call."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

from orchestrator import domain as d
from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble

DAYS = 21
STEPS = 71_680
STEP = 41_208
ETA = api.NOW + timedelta(days=14, hours=9)
START = api.NOW - timedelta(days=DAYS)


def serve(double: ApiDouble, **run: Any) -> None:
    """Let the double tell the story of ``first-run``."""
    plain = {**d.to_json(api.RUNS[0]), "created": d.to_json(START), "steps": STEPS}
    double.set("GET", "runs/first-run", Answer({**plain, "attempts": attempts(), **run}))
    double.set("GET", "runs/first-run/samples", Answer(samples()))
    double.set("GET", "runs/first-run/checkpoints", Answer(d.to_json(list(api.CHECKPOINTS))))
    double.set("GET", "journal", Answer(journal()))
    double.set("GET", "energy", Answer(lambda query: energy(query["by"])))
    view = api.run_view(step=STEP, steps=STEPS, progress=STEP / STEPS, eta=ETA)
    headline = (
        "Paused until 22:00 by the tariff (0.41 EUR/kWh): first-run, step 41,208 of 71,680 (57%)."
    )
    counters = {"first-run": totals()}
    shown = api.snapshot(run=view, headline=headline, counters=counters)
    double.set("GET", "status", Answer(d.to_json(shown)))


def totals() -> dict[str, float]:
    return {
        "tokens": 21.6e9, "active_seconds": 1_130_000.0, "outages": 2, "outage_seconds": 27_000.0,
        "restarts": 5, "lost_steps": 37, "held_seconds_tariff": 460_000.0,
        "held_seconds_quiet_hours": 90_000.0, "held_seconds_user": 21_600.0,
        "held_seconds_thermal": 0.4,
    }  # fmt: skip


def samples() -> list[dict[str, Any]]:
    rng, found = random.Random(5), []
    for number in range(600):
        step = 1 + round(number * (STEP - 1) / 599)
        loss = 2.3 + 8.2 * (1 + step / 90) ** -0.62 + rng.gauss(0, 0.05)
        bits = round((loss - 0.02) / 3.05, 4) if number % 20 == 19 else None
        time = START + timedelta(days=DAYS * number / 599)
        found.append(
            {"step": step, "time": d.to_json(time), "loss": loss, "bits_per_byte": bits,
             "tokens_per_second": 21_000.0, "watts": 190.0}
        )  # fmt: skip
    return found


_ENDS: list[tuple[float, float | None, str | None, str]] = [
    (0.0, 4.2, "reboot", "the machine went down"),
    (4.5, 9.0, "stopped", ""),
    (9.1, 13.25, "crashed", "CUDA error: an illegal memory access was encountered"),
    (13.26, 17.0, "daemon_lost", "the daemon died above it"),
    (17.01, None, None, ""),
]


def attempts() -> list[dict[str, Any]]:
    return [
        {
            "run": "first-run", "number": number, "started": _day(start),
            "ended": None if end is None else _day(end), "end": how, "cause": cause,
            "first_step": round(start * 1_960), "last_step": round((end or DAYS) * 1_960),
        }
        for number, (start, end, how, cause) in enumerate(_ENDS, start=1)
    ]  # fmt: skip


def journal() -> list[dict[str, Any]]:
    found: list[tuple[float, str, str, dict[str, Any]]] = []
    for day in range(DAYS):
        found.append((day + 0.25, "hold_started", "Held by tariff: 0.41 EUR/kWh.", {}))
        found.append((day + 0.42, "hold_ended", "The hold 'tariff' ended.", {}))
        if day % 7 in (5, 6):
            found.append((day + 0.8, "hold_started", "Held by quiet_hours: night.", {}))
            found.append((day + 1.0, "hold_ended", "The hold 'quiet_hours' ended.", {}))
    for since, until in ((4.2, 4.5), (13.25, 13.26)):
        data = {"since": _day(since), "seconds": 1.0}
        found.append((until, "outage", "Nothing ran.", data))
    found.append((7.5, "hold_started", "Held by user: pause (gaming).", {}))
    found.append((7.62, "hold_ended", "The hold 'user' was lifted.", {}))
    found.append((DAYS - 0.1, "hold_started", "Held by tariff: 0.41 EUR/kWh.", {}))
    found.append((3.0, "hold_ended", "The hold 'ups' ended.", {}))
    return [
        {"id": number, "time": _day(day), "kind": kind, "message": message, "data": data,
         "severity": "info", "run": None}
        for number, (day, kind, message, data) in enumerate(sorted(found, key=lambda e: e[0]), 1)
    ]  # fmt: skip


def energy(by: str) -> dict[str, Any]:
    """By day or by run."""
    lines = []
    for day in range(DAYS):
        kwh = 3.1 + math.sin(day) * 0.6
        measured = kwh if day > 3 else kwh * 0.4
        costs = [{"currency": "EUR", "amount": kwh * (0.24 + 0.05 * math.cos(day))}]
        label = f"{START + timedelta(days=day):%Y-%m-%d}"
        lines.append(_line(label, kwh, measured, costs))
    if by == "run":
        total = sum(line["kwh"] for line in lines)
        paid = sum(line["costs"][0]["amount"] for line in lines)
        costs = [{"currency": "EUR", "amount": paid}]
        lines = [_line("first-run", total, total * 0.9, costs)]
    return {"by": by, "lines": lines, "total": None, "without_run": None, "avoided": []}


def _line(label: str, kwh: float, measured: float, costs: list[Any]) -> dict[str, Any]:
    return {"label": label, "kwh": kwh, "measured_kwh": measured, "costs": costs,
            "unpriced_kwh": 0.0}  # fmt: skip


def _day(day: float) -> Any:
    return d.to_json((START + timedelta(days=day)).replace(microsecond=0))


def moment(day: float) -> datetime:
    """The time of a day of the story."""
    return (START + timedelta(days=day)).replace(microsecond=0)
