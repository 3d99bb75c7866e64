"""make bench-planner: what planning saves on real prices, against simple rules and an oracle.

One job of 480 hours at full speed, deadlines of 480 hours times (1 + slack), starts spread over
each price series. The planner knows at any time only what was published by then; everything else
is the product's own forecast. The power curve is assumed (see LEVELS), not measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.planning import heuristics, online, schedule
from orchestrator.planning.plan import Plan, Walk, flat_out
from orchestrator.planning.problem import Level, Machine, Pause, Problem, Standing, until
from tests.bench import planner_report
from tests.bench.machine import header
from tests.bench.prices import Market

WORK_HOURS = 480.0
SLACKS = (0.0, 0.25, 0.5, 1.0)
#: limit in watts and relative speed, assumed: between Zeus' measured Turing, Ampere and Volta
#: curves (NSDI'23) and what is published for RTX 40 cards
CURVE = ((100, 0.70), (120, 0.82), (140, 0.90), (160, 0.95), (180, 0.98), (200, 1.00))
#: the card and 20 W of processor through a power supply of 88 %; the machine is on anyway
LEVELS = tuple(Level(limit, rate, (limit + 20) / 0.88) for limit, rate in CURVE)
MACHINE = Machine(LEVELS, (Pause("release", 0.0, 120.0),))
_HISTORY = timedelta(days=36)
_RULES = ("constant_cap", "cheapest_hours", "daily_cap", "online", "foresight")


@dataclass(frozen=True)
class Row:
    """One start date, one deadline."""

    market: str
    currency: str
    slack: float
    start: str
    always_on_cost: float
    #: saved against always-on, as a fraction, by rule; None: it missed the deadline
    saved: dict[str, float | None]
    starts: dict[str, int]
    gap: float
    online_in_time: bool
    plans: int
    plan_seconds: float


def run_online(
    market: Market, problem: Problem, goal: online.Goal, rules: online.Rules
) -> tuple[Plan, list[float]]:
    """Carry out the online policy on what was paid in the end. Also the seconds of each plan."""
    walk = Walk(problem)
    incumbent: online.Incumbent | None = None
    seconds: list[float] = []
    index = 0
    while index < len(problem.slots) and walk.finish is None:
        now = problem.slots[index].start
        slots, known_until = market.outlook(now, max(goal.deadline, now + timedelta(hours=1)))
        outlook = online.Outlook(
            now, slots, known_until, problem.machine, walk.standing, problem.work_hours - walk.done
        )
        began = time.process_time()
        why = online.reason_to_plan(incumbent, outlook, goal, rules)
        if why is not None:
            incumbent = online.plan_again(incumbent, outlook, goal, rules, why)
        seconds.append(time.process_time() - began)
        assert incumbent is not None
        stop = min(market.next_publication(now), goal.deadline)
        choices = online.continued(incumbent.plan, online.problem_of(outlook)).choices
        fastest = flat_out(problem)
        step = 0
        while index < len(problem.slots) and walk.finish is None:
            slot = problem.slots[index]
            if slot.start >= stop and step:
                break
            known = step < len(choices) and slots[step].known and choices[step] > -100
            walk.take(slot, choices[step] if known else fastest[index])
            index, step = index + 1, step + 1
    return walk.plan(), seconds


def one(market: Market, start: datetime, slack: float, rules: online.Rules) -> Row:
    """All rules on one month."""
    deadline = start + timedelta(hours=WORK_HOURS * (1 + slack))
    standing = Standing(on=True)
    truth = market.truth(start, deadline + timedelta(days=2))
    longer = Problem(truth, MACHINE, WORK_HOURS, standing)
    problem = replace(longer, slots=until(truth, deadline))
    always = heuristics.always_on(problem)
    foresight = schedule.by_deadline(problem)
    goal = online.Goal(WORK_HOURS, start, deadline)
    carried_out, seconds = run_online(market, longer, goal, rules)
    plans: dict[str, Plan | None] = {
        "constant_cap": heuristics.constant_cap(problem),
        "cheapest_hours": heuristics.cheapest_hours(problem, market.zone),
        "daily_cap": heuristics.daily_cap(problem, market.zone),
        "online": carried_out,
        "foresight": foresight,
    }
    second = timedelta(seconds=1)
    in_time = carried_out.finish is not None and carried_out.finish <= deadline + second
    return Row(
        market=market.name,
        currency=market.series.currency,
        slack=slack,
        start=f"{start:%Y-%m-%d}",
        always_on_cost=always.cost,
        saved={
            rule: 1 - plan.cost / always.cost if plan is not None and plan.finish else None
            for rule, plan in plans.items()
        },
        starts={rule: plan.starts for rule, plan in plans.items() if plan is not None},
        gap=foresight.gap or 0.0,
        online_in_time=in_time,
        plans=len(seconds),
        plan_seconds=statistics.mean(seconds),
    )


def starts_of(market: Market, count: int) -> list[datetime]:
    """Start dates spread over the series, with history before and room for the longest deadline."""
    slots = market.series.slots
    first = slots[0].start + _HISTORY
    last = slots[-1].end - timedelta(hours=WORK_HOURS * 2) - timedelta(days=3)
    found = []
    for number in range(count):
        moment = first + (last - first) * number / max(1, count - 1)
        local = moment.astimezone(market.zone).replace(hour=18, minute=0, second=0, microsecond=0)
        found.append(local.astimezone(slots[0].start.tzinfo))
    return found


def quarter_hours(markets: Sequence[Market]) -> tuple[int, float, float]:
    """Slots, CPU seconds and gap of one plan for 40 days of quarter-hours."""
    for market in markets:
        start = starts_of(market, 3)[1]
        slots = market.truth(start, start + timedelta(days=40))
        if len(slots) >= 3800:
            began = time.process_time()
            plan = schedule.by_deadline(Problem(slots, MACHINE, WORK_HOURS, Standing(on=True)))
            return len(slots), time.process_time() - began, plan.gap or 0.0
    return 0, 0.0, 0.0


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prices", nargs="?", type=Path, default=Path("../shared/prices"))
    parser.add_argument("--starts", type=int, default=6, help="start dates per file")
    parser.add_argument("--out", type=Path, default=None, help="write planner.{md,svg,json} here")
    arguments = parser.parse_args()
    files = sorted(arguments.prices.glob("*.csv"))
    if not files:
        print(f"no price files in {arguments.prices}: nothing to measure")
        return 0
    top = header(f"make bench-planner (prices of {', '.join(f.name for f in files)})")
    print(top, flush=True)
    markets = [Market.read(file) for file in files]
    rows = []
    for market in markets:
        for slack in SLACKS:
            for start in starts_of(market, arguments.starts):
                rows.append(one(market, start, slack, online.Rules()))
                print(planner_report.line(rows[-1]), flush=True)
    timing = quarter_hours(markets)
    report = planner_report.Report(top, rows, timing)
    print(report.markdown())
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "planner.md").write_text(report.markdown(), encoding="utf-8")
        (arguments.out / "planner.svg").write_text(report.svg(), encoding="utf-8")
        plain = {"machine": top, "timing": timing, "rows": [asdict(row) for row in rows]}
        (arguments.out / "planner.json").write_text(json.dumps(plain, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
