"""What the plan says of d32 on 38 billion tokens, against the arithmetic of the facts."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from orchestrator.planning import estimate_statement as statement
from orchestrator.planning.estimate import DAY_SECONDS, Measured, Row, Tariff, Wish, estimate
from orchestrator.planning.estimate_data import data_for, tokens_in
from orchestrator.planning.estimate_instead import instead
from orchestrator.planning.estimate_quality import BEST_RATIO, expected_loss
from trainer.contract.spec import ModelSpec
from trainer.sizing import CARDS, flops_per_token, scaling_parameters
from trainer.sizing.storage import STORAGES

D32 = ModelSpec(depth=32)
THE_RUN = Wish(model=D32, tokens=37_580_963_840, card=CARDS["RTX 4070"])
MONTH = 30 * DAY_SECONDS


def row_of(wish: Wish, name: str) -> Row:
    return next(row for row in estimate(wish).rows if row.storage.name == name)


def days(row: Row) -> float:
    assert row.seconds is not None
    return row.seconds / DAY_SECONDS


def test_d32_is_the_run_of_the_facts() -> None:
    answer = estimate(THE_RUN)
    assert answer.parameters == 1_879_048_192
    assert answer.flops == pytest.approx(4.539628e20, rel=1e-6)


def test_at_the_peak_it_is_90_150_and_200_days() -> None:
    lines = statement.at_peak(THE_RUN.flops, CARDS["RTX 4070"])
    assert [round(line.seconds / DAY_SECONDS, -1) for line in lines] == [90, 150, 200]
    assert [round(line.flops_per_second / 1e12) for line in lines] == [58, 35, 26]


def test_35_to_45_days_would_need_low_bit_matmuls() -> None:
    needed = [
        statement.needed_flops_per_second(THE_RUN.flops, span * DAY_SECONDS) / 1e12
        for span in (35, 45)
    ]
    assert needed == [pytest.approx(150, rel=0.01), pytest.approx(117, rel=0.01)]


def test_bf16_takes_about_150_days_and_720_kwh_of_the_card() -> None:
    row = row_of(THE_RUN, "bf16-8bit")
    assert days(row) == pytest.approx(150, rel=0.05)
    assert row.card_joules is not None
    assert row.card_joules / 3.6e6 == pytest.approx(720, rel=0.05)
    assert row.speed_source == "assumed"


def test_int8_takes_about_85_days() -> None:
    assert days(row_of(THE_RUN, "int8")) == pytest.approx(85, rel=0.05)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_native_precision_does_not_fit_and_the_plan_says_by_how_much(name: str) -> None:
    row = row_of(THE_RUN, name)
    assert row.fits is False
    assert row.misses_bytes is not None
    assert f"{name} by {row.misses_bytes / 2**30:.1f} GiB" in " ".join(
        statement.plain_words(estimate(THE_RUN), MONTH)
    )


def test_a_run_of_hours_is_told_in_hours_and_nothing_as_zero() -> None:
    small = dataclasses.replace(THE_RUN, model=ModelSpec(depth=12), tokens=1 << 30)
    said = " ".join(statement.plain_words(estimate(small), MONTH))
    assert "hours in bf16" in said
    assert "In 30 days it would take 0.4 TFLOPS" in said
    for nothing in (" 0 days", " 0.0 times", " 0 TFLOPS", " 0.0 hours"):
        assert nothing not in said


def test_the_micro_batch_is_the_fastest_that_fits() -> None:
    assert row_of(THE_RUN, "int8").memory.micro_batch == 4
    roomy = dataclasses.replace(THE_RUN, card=CARDS["RTX 4090"])
    assert row_of(roomy, "int8").memory.micro_batch == 16
    laptop = row_of(dataclasses.replace(THE_RUN, card=CARDS["RTX 4070 Laptop"]), "int8")
    assert laptop.fits
    assert laptop.storage.host_gradients


def test_money_is_the_energy_at_the_wall_by_the_tariff() -> None:
    priced = dataclasses.replace(THE_RUN, tariff=Tariff(Decimal("0.30"), "EUR"))
    row = row_of(priced, "int8")
    assert row.wall_joules is not None
    assert row.money is not None
    assert float(row.money) == pytest.approx(row.wall_joules / 3.6e6 * 0.30)
    assert row_of(THE_RUN, "int8").money is None


def test_a_measured_speed_replaces_the_assumed_one_and_scales_the_others() -> None:
    assumed = row_of(THE_RUN, "int8")
    assert assumed.tokens_per_second is not None
    slower = 0.5 * assumed.tokens_per_second
    measured = Measured("mine", D32, "int8", slower, watts=150.0)
    wish = dataclasses.replace(THE_RUN, measured=measured, micro_batch=4)
    row = row_of(wish, "int8")
    assert (row.tokens_per_second, row.speed_source) == (slower, "measured")
    assert row.card_joules == pytest.approx(150.0 * 37_580_963_840 / slower)
    other = row_of(wish, "bf16-8bit")
    assert other.speed_source == "scaled"
    assert other.seconds == pytest.approx(2 * (row_of(THE_RUN, "bf16-8bit").seconds or 0))
    assert any("run mine" in said for said in statement.assumptions(estimate(wish)))


def test_a_machine_nobody_knows_has_no_speed_until_one_is_measured() -> None:
    unknown = dataclasses.replace(THE_RUN, card=None)
    row = row_of(unknown, "fp32")
    assert (row.fits, row.seconds, row.money, row.speed_source) == (None, None, None, "unknown")
    measured = Measured("mine", D32, "fp32", 1000.0)
    row = row_of(dataclasses.replace(unknown, measured=measured), "fp32")
    assert row.seconds == pytest.approx(37_580_963_840 / 1000)
    assert row.wall_joules is None


def test_checkpoints_of_a_month_keep_to_what_the_ssd_may_wear() -> None:
    row = row_of(THE_RUN, "int8")
    assert row.ssd_bytes_a_month == pytest.approx(30e12)
    unlimited = row_of(dataclasses.replace(THE_RUN, ssd_bytes_a_month=0.0), "int8")
    assert unlimited.ssd_bytes_a_month == pytest.approx(row.checkpoint_bytes * MONTH / 600)


def test_what_may_be_lost_comes_before_wear_and_a_step_before_both() -> None:
    large = row_of(THE_RUN, "fp32")
    step_seconds = 524_288 / (large.tokens_per_second or 0)
    expected = large.checkpoint_bytes * MONTH / (900 - step_seconds)
    assert large.ssd_bytes_a_month == pytest.approx(expected)
    slow = dataclasses.replace(THE_RUN, batch_tokens=16 * 524_288)
    row = row_of(slow, "int8")
    step_seconds = 16 * 524_288 / (row.tokens_per_second or 0)
    assert row.ssd_bytes_a_month == pytest.approx(row.checkpoint_bytes * MONTH / step_seconds)


# --- data -----------------------------------------------------------------------------------


def test_the_run_reads_722_shards() -> None:
    data = data_for(37_580_963_840)
    assert data.shards_needed == 722
    assert data.epochs == pytest.approx(0.396, abs=0.001)
    assert statement.warnings(estimate(THE_RUN)) == []


def test_repeated_data_is_a_warning_with_the_number_of_missing_shards() -> None:
    wish = dataclasses.replace(THE_RUN, shards=240)
    assert estimate(wish).data.epochs == pytest.approx(3.007, abs=0.001)
    (warning,) = statement.warnings(estimate(wish))
    assert "3.01 times" in warning
    assert "482 are missing" in warning


def test_a_step_longer_than_what_a_cut_may_cost_is_a_warning_in_seconds() -> None:
    """Nothing is saved within a step; 64 times the batch takes far too long."""
    slow = dataclasses.replace(THE_RUN, batch_tokens=64 * 524_288)
    (warning,) = statement.warnings(estimate(slow))
    speed = max(row.tokens_per_second or 0 for row in estimate(slow).rows if row.fits)
    assert f"takes {64 * 524_288 / speed:,.0f} s" in warning
    assert "the 900 s of checkpoint.most_lost_seconds cannot be held" in warning


def test_exactly_one_epoch_is_no_repetition() -> None:
    assert data_for(round(tokens_in(10)), 10).shards_missing == 0
    assert data_for(round(tokens_in(10)) + 1, 10).shards_missing == 1
    with pytest.raises(ValueError, match="at least one shard"):
        data_for(1000, 0)


# --- instead --------------------------------------------------------------------------------


def test_a_month_of_int8_is_best_spent_on_d30() -> None:
    options = instead(THE_RUN, MONTH)
    best = options[0].estimate.wish
    assert best.model.depth == 30
    assert best.tokens == pytest.approx(14.5e9, rel=0.05)
    assert options[0].row.storage.name == "int8"
    losses = [option.expected_loss for option in options]
    assert losses == sorted(losses)


def test_what_is_offered_instead_really_fits_card_deadline_and_corpus() -> None:
    wish = dataclasses.replace(THE_RUN, card=CARDS["RTX 4070 Laptop"], shards=300)
    options = instead(wish, 60 * DAY_SECONDS)
    assert options
    for option in options:
        assert option.row.fits
        assert option.row.wall_seconds is not None
        assert option.row.wall_seconds <= 60 * DAY_SECONDS
        assert option.estimate.data.shards_missing == 0
        assert not option.row.storage.experimental


def test_nothing_is_offered_where_nothing_fits() -> None:
    assert instead(dataclasses.replace(THE_RUN, card=None), MONTH) == []
    native = tuple(each for each in STORAGES if each.name == "fp32")
    deep = dataclasses.replace(THE_RUN, recipes=native, card=CARDS["RTX 4060"])
    assert all(option.estimate.wish.model.depth < 20 for option in instead(deep, MONTH))
    assert instead(THE_RUN, 1.0) == []


# --- quality --------------------------------------------------------------------------------


def test_a_given_compute_is_used_best_at_the_measured_ratio() -> None:
    int8 = next(each for each in STORAGES if each.name == "int8")
    compute = 1e20

    def loss(depth: int) -> float:
        model = ModelSpec(depth=depth)
        return expected_loss(model, int8, compute / flops_per_token(model))

    best = ModelSpec(depth=min(range(8, 64, 2), key=loss))
    ratio = compute / flops_per_token(best) / scaling_parameters(best)
    assert ratio == pytest.approx(BEST_RATIO, rel=0.4)


def test_more_tokens_and_more_bits_are_better() -> None:
    by_name = {each.name: each for each in STORAGES}
    tokens = 10e9
    order = ["bf16-8bit", "int8", "nf4", "w2.6", "w3", "w2.6 ternary"]
    losses = [expected_loss(D32, by_name[name], tokens) for name in order]
    assert losses == sorted(losses)
    nf4 = by_name["nf4"]
    assert expected_loss(D32, nf4, 2 * tokens) < expected_loss(D32, nf4, tokens)
    assert expected_loss(D32, by_name["nf4 adamw8"], tokens) > losses[2]
