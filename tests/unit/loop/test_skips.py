"""Which batch a step has when some are left out."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from trainer import skips
from trainer.skips import Skips

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)).map(lambda s: (s[0], sum(s))))


def test_without_any_each_step_has_its_own_batch() -> None:
    assert [Skips().batch_of(step) for step in range(4)] == [0, 1, 2, 3]


def test_what_is_left_out_moves_all_that_follows() -> None:
    without = Skips().leaving_out(2, 5)
    assert without.spans == ((2, 5),)
    assert [without.batch_of(step) for step in range(5)] == [0, 1, 5, 6, 7]
    again = without.leaving_out(2, 4)
    assert again.spans == ((2, 7),)
    assert again.count == 5
    assert [again.batch_of(step) for step in (1, 2)] == [1, 7]


def test_leaving_out_a_road_over_an_earlier_gap_takes_both() -> None:
    road = Skips().leaving_out(4, 6).leaving_out(3, 5)
    assert road.spans == ((3, 7),)
    assert road.batch_of(3) == 7


@given(SPANS)
def test_the_steps_have_exactly_the_batches_that_are_not_left_out(
    spans: list[tuple[int, int]],
) -> None:
    found = skips.from_plain(spans)
    gone = {batch for first, end in spans for batch in range(first, end)}
    kept = [batch for batch in range(200) if batch not in gone]
    assert [found.batch_of(step) for step in range(100)] == kept[:100]
    assert skips.from_plain(json.loads(json.dumps(found.to_plain()))) == found
