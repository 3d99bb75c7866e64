"""The arithmetic of classic nanochat against published figures and the live module."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.unit.model.small import run_spec
from trainer import sizing
from trainer.contract.spec import ModelSpec, RunSpec, TrainSpec
from trainer.model import NanoChat
from trainer.optim import Optimizer
from trainer.precision import build


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 560_988_160), (28, 1_313_865_728), (32, 1_879_048_192)]
)
def test_parameters_are_those_that_nanochat_prints(depth: int, parameters: int) -> None:
    assert sizing.parameters(ModelSpec(depth=depth)) == parameters


def test_the_whole_d32_run_costs_what_nanochat_says() -> None:
    spec = RunSpec(name="d32", model=ModelSpec(depth=32))
    steps = sizing.horizon_steps(spec)
    tokens = steps * spec.train.batch_tokens
    assert steps == 71_680
    assert tokens == 37_580_963_840
    assert sizing.flops_per_token(spec.model) == pytest.approx(1.20796e10, rel=1e-5)
    assert tokens * sizing.flops_per_token(spec.model) == pytest.approx(4.539628e20, rel=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        ModelSpec(depth=1, vocab_size=512),
        ModelSpec(depth=3, vocab_size=4096, sequence_length=256),
        ModelSpec(depth=6, kv_heads=1),
        ModelSpec(depth=20),
        ModelSpec(depth=32),
    ],
    ids=lambda model: f"d{model.depth}-kv{model.kv_heads}",
)
def test_the_count_is_that_of_the_live_module(model: ModelSpec) -> None:
    with torch.device("meta"):
        live = NanoChat(model)
    assert sizing.parameters(model) == sum(weight.numel() for weight in live.parameters())
    assert sizing.embedding_parameters(model) == live.transformer.wte.weight.numel()


def test_heads_follow_the_width() -> None:
    shapes = [sizing.shape_of(ModelSpec(depth=depth)) for depth in (1, 2, 3, 4, 32)]
    assert [(each.width, each.heads, each.head_dim) for each in shapes] == [
        (64, 1, 64),
        (128, 1, 128),
        (192, 2, 96),
        (256, 2, 128),
        (2048, 16, 128),
    ]
    assert sizing.shape_of(ModelSpec(depth=32)).kv_heads == 16
    assert sizing.shape_of(ModelSpec(depth=32, kv_heads=4)).kv_heads == 4


def test_horizon_is_steps_else_tokens_else_twenty_tokens_a_parameter() -> None:
    model = ModelSpec(depth=1, vocab_size=512, sequence_length=32)

    def horizon(steps: int = 0, tokens: int = 0, batch_tokens: int = 1024) -> int:
        train = TrainSpec(steps=steps, tokens=tokens, batch_tokens=batch_tokens)
        return sizing.horizon_steps(RunSpec(name="h", model=model, train=train))

    assert horizon(steps=7) == 7
    assert horizon(tokens=10_000) == 9
    assert horizon() == 20 * sizing.parameters(model) // 1024
    assert horizon(batch_tokens=1 << 30) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpoint_bytes_come_close_to_the_real_tensors(precision: str) -> None:
    spec = run_spec(ModelSpec(depth=2, vocab_size=2048, sequence_length=32), precision=precision)
    keeping = build(spec, torch.device("cpu"))
    state = Optimizer(keeping, spec).state_tensors()
    real = sum(each.nbytes for each in (*keeping.model.state_dict().values(), *state.values()))
    assert 0 <= sizing.checkpoint_bytes(spec) - real < 100_000


def test_a_4070_has_the_peak_of_its_data_sheet() -> None:
    card = sizing.card_named("NVIDIA GeForce RTX 4070")
    assert card is not None
    assert card.bf16_flops == pytest.approx(58.3e12, rel=0.002)
    assert card.fp32_flops == pytest.approx(29.15e12, rel=0.002)


@pytest.mark.parametrize(
    ("name", "terabf16"),
    [("NVIDIA GeForce RTX 3090", 71.2), ("RTX 4090", 165.2), ("nvidia geforce rtx 5090", 209.5)],
)
def test_other_cards_have_theirs(name: str, terabf16: float) -> None:
    card = sizing.card_named(name)
    assert card is not None
    assert card.bf16_flops == pytest.approx(terabf16 * 1e12, rel=0.002)


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4070 Laptop GPU", "NVIDIA GeForce RTX 40", "Tesla T4", "", "cpu"]
)
def test_a_card_with_an_unknown_peak_is_not_guessed(name: str) -> None:
    assert sizing.card_named(name) is None


def test_the_context_changes_flops_but_not_parameters() -> None:
    short = ModelSpec(depth=4, sequence_length=256)
    long = dataclasses.replace(short, sequence_length=512)
    assert sizing.parameters(short) == sizing.parameters(long)
    attention = sizing.flops_per_token(long) - sizing.flops_per_token(short)
    assert attention == 12 * 4 * 256 * 256
