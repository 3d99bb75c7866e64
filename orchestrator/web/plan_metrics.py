"""Plan and bills in /metrics. What is unknown is absent, never 0."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from orchestrator.domain import Bill, PlanView
from orchestrator.planning.online import Mode
from orchestrator.web.families import gauge, one_of, timestamp


def plan_metrics(run: str, plan: PlanView) -> Iterator[Metric]:
    """What the active run is planned for and what that comes to; its finish is its ETA."""
    mine = (run,)
    for name, text, value in (
        ("deadline", "When the run is wanted.", plan.deadline),
        ("next_change", "When the plan wants something else than now.", plan.next_change),
    ):
        yield gauge(f"plan_{name}_timestamp_seconds", text, ("run",)).put(mine, timestamp(value))
    cost = gauge("plan_cost", "From the making of the plan to its finish.", ("run", "currency"))
    yield cost.put((run, plan.currency), plan.cost)
    gap = gauge("plan_gap_ratio", "At most so much above the best plan, a fraction.", ("run",))
    yield gap.put(mine, plan.gap_ratio)
    if plan.mode:
        modes = [mode.value for mode in Mode]
        yield one_of(
            "plan_mode", "1 for how the plan came about.", "mode", modes, plan.mode, ("run",), mine
        )


def bill_metrics(bills: tuple[Bill, ...]) -> Iterator[Metric]:
    """What runs cost so far, and what waiting avoided; a few minutes old."""
    labels = ("run", "currency")
    cost = gauge("run_cost", "What a run cost so far, by the ledger.", labels)
    avoided = gauge("avoided_cost", "Less than at full power without a break.", labels)
    for bill in bills:
        cost.put((bill.run, bill.currency), _number(bill.cost))
        avoided.put((bill.run, bill.currency), _number(bill.avoided_cost))
    yield cost
    yield avoided


def _number(amount: object) -> float | None:
    return None if amount is None else float(str(amount))
