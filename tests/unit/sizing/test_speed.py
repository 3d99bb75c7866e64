"""Assumed speeds against the published measurements that they stand on."""

from __future__ import annotations

import dataclasses

import pytest

from trainer.contract.spec import ModelSpec
from trainer.sizing import CARDS, flops_per_token
from trainer.sizing.speed import assumed_speed, executed_flops_per_token
from trainer.sizing.storage import STORAGES, Storage, summing

D32 = ModelSpec(depth=32)
RTX_4070 = CARDS["RTX 4070"]


def named(name: str) -> Storage:
    return next(each for each in STORAGES if each.name == name)


def tokens_per_second(name: str, model: ModelSpec = D32, micro_batch: int = 4) -> float:
    return assumed_speed(model, named(name), RTX_4070, micro_batch, 524_288).tokens_per_second


@pytest.mark.parametrize(
    ("recipe", "low", "high"),
    [("bf16-8bit", 2_900, 3_600), ("int8", 5_000, 6_100), ("nf4", 2_800, 3_600)],
)
def test_d32_on_a_4070_goes_as_fast_as_others_measured(
    recipe: str, low: float, high: float
) -> None:
    assert low < tokens_per_second(recipe) < high


def test_executed_flops_are_those_of_the_facts() -> None:
    once = dataclasses.replace(named("bf16-8bit"), recompute=False)
    assert sum(executed_flops_per_token(D32, once)) == pytest.approx(11.4e9, rel=0.02)
    assert sum(executed_flops_per_token(D32, named("int8"))) == pytest.approx(14.9e9, rel=0.02)


def test_effective_flops_are_counted_as_nanochat_does() -> None:
    speed = assumed_speed(D32, named("int8"), RTX_4070, 4, 524_288)
    expected = speed.tokens_per_second * flops_per_token(D32)
    assert speed.flops_per_second == pytest.approx(expected)


def test_int8_helps_a_deep_model_more_than_a_shallow_one() -> None:
    def gain(depth: int) -> float:
        model = ModelSpec(depth=depth)
        return tokens_per_second("int8", model) / tokens_per_second("bf16-8bit", model)

    assert 1.3 < gain(12) < gain(20) < gain(32) < 1.75


def test_fewer_bits_save_no_time() -> None:
    assert tokens_per_second("w2.6") <= tokens_per_second("bf16-8bit")
    assert tokens_per_second("nf4", micro_batch=1) < tokens_per_second("nf4", micro_batch=8)


def test_gradients_on_the_host_cost_time_with_each_micro_batch() -> None:
    on_host = summing(named("int8"), micro_batches=128)
    assert on_host.host_gradients
    slow = assumed_speed(D32, on_host, RTX_4070, 2, 524_288).tokens_per_second
    fast = assumed_speed(D32, named("int8"), RTX_4070, 2, 524_288).tokens_per_second
    assert 0.5 * fast < slow < 0.9 * fast
    assert not summing(named("int8"), micro_batches=64).host_gradients
    assert not summing(named("fp32"), micro_batches=1000).host_gradients
