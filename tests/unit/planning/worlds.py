"""Small worlds to plan in: levels as of a 4070, price patterns, strategies for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from orchestrator.planning.problem import Level, Machine, Pause, Problem, Slot, Standing
from orchestrator.planning.schedule import capacity_hours

START = datetime(2026, 12, 1, tzinfo=UTC)
#: limits and relative speeds between Zeus' measured curves and published RTX 40 points
CURVE = ((100, 0.70), (120, 0.82), (140, 0.90), (160, 0.95), (180, 0.98), (200, 1.00))
LEVELS = tuple(Level(limit, rate, (limit + 20) / 0.88) for limit, rate in CURVE)
FULL = LEVELS[-1]


def row(
    prices: Sequence[float],
    minutes: int = 60,
    *,
    start: datetime = START,
    blocked: Sequence[int] = (),
    caps: dict[int, float] | None = None,
) -> tuple[Slot, ...]:
    """Slots of one length at these prices."""
    span = timedelta(minutes=minutes)
    return tuple(
        Slot(
            start + span * number,
            start + span * (number + 1),
            price,
            cap_watts=(caps or {}).get(number),
            blocked=number in blocked,
        )
        for number, price in enumerate(prices)
    )


def problem(
    prices: Sequence[float],
    work_hours: float,
    *,
    minutes: int = 60,
    machine: Machine | None = None,
    standing: Standing | None = None,
    blocked: Sequence[int] = (),
    caps: dict[int, float] | None = None,
) -> Problem:
    """A problem over a row of slots; it stands running unless told otherwise."""
    return Problem(
        row(prices, minutes, blocked=blocked, caps=caps),
        machine or Machine(LEVELS),
        work_hours,
        standing or Standing(on=True),
    )


def prices(low: float = -0.1, high: float = 0.6) -> st.SearchStrategy[float]:
    """Prices to the tenth of a cent, so that ties happen."""
    return st.integers(round(low * 1000), round(high * 1000)).map(lambda number: number / 1000)


@st.composite
def small_problems(
    draw: st.DrawFn, *, slots: int = 6, levels: int = 2, lowest_price: float = -0.1
) -> Problem:
    """Mixed slot lengths, idle power, minimum times, blocks and caps; the work always fits."""
    count = draw(st.integers(2, slots))
    chosen = (LEVELS[1], LEVELS[-1]) if levels == 2 else (*LEVELS[::2], LEVELS[-1])
    built: list[Slot] = []
    moment = START
    for _ in range(count):
        end = moment + timedelta(minutes=draw(st.sampled_from((15, 30, 60))))
        built.append(
            Slot(
                moment,
                end,
                draw(prices(low=lowest_price)),
                cap_watts=draw(st.sampled_from((None, None, None, 130.0))),
                blocked=draw(st.sampled_from((False, False, False, True))),
            )
        )
        moment = end
    pause = Pause(
        "release",
        draw(st.sampled_from((0.0, 4.0, 60.0))),
        draw(st.sampled_from((0.0, 120.0, 1200.0))),
    )
    machine = Machine(
        chosen,
        (pause,),
        min_up_seconds=draw(st.sampled_from((0.0, 0.0, 2700.0))),
        min_down_seconds=draw(st.sampled_from((0.0, 0.0, 2700.0))),
    )
    standing = Standing(on=draw(st.booleans()), age_seconds=draw(st.sampled_from((1e9, 600.0))))
    unlimited = Problem(tuple(built), machine, 1.0, standing)
    share = draw(st.floats(0.05, 0.98))
    return Problem(tuple(built), machine, max(0.01, capacity_hours(unlimited) * share), standing)
