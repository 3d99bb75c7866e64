"""Bits per byte against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.unit.model.small import DEPTH_1, lively, tokens
from trainer.evaluate import Evaluation, bits_per_byte
from trainer.model import NanoChat
from trainer.precision import recipe

CPU = torch.device("cpu")
Batches = list[tuple[Tensor, Tensor]]


def _evaluate(
    model: NanoChat, batches: Batches, lengths: Tensor, fractions: list[float] | None = None
) -> Evaluation:
    seen: list[float] = [] if fractions is None else fractions
    return bits_per_byte(model, batches, lengths, recipe("fp32"), CPU, seen.append)


def _lengths(**by_id: int) -> Tensor:
    lengths = torch.ones(512, dtype=torch.int64)
    for name, length in by_id.items():
        lengths[int(name.removeprefix("id"))] = length
    return lengths


def test_a_model_that_knows_nothing_needs_nine_bits_a_token() -> None:
    model = NanoChat(DEPTH_1)
    model.init_weights(1)  # the head is zero, so each of the 512 tokens is as likely
    lengths = _lengths(id10=1, id11=2, id12=3, id13=0)
    targets = torch.tensor([[10, 11, 12, 13, -1]])
    found = _evaluate(model, [(torch.zeros_like(targets), targets)], lengths)
    # three tokens of text, 9 bits each, stand for 1 + 2 + 3 bytes; 13 is a special token
    assert found.bits_per_byte == pytest.approx(27 / 6, rel=1e-6)
    assert found.loss == pytest.approx(math.log(512), rel=1e-6)


def test_nats_and_bytes_are_summed_over_all_batches_before_dividing() -> None:
    model = lively()
    lengths = torch.arange(512) % 5
    batches = [(tokens(seed=seed), tokens(seed=seed + 50)) for seed in range(3)]
    batches[1][1][0, :20] = -1
    nats = text_bytes = all_nats = count = 0.0
    with torch.no_grad():
        for ids, targets in batches:
            log_probability = torch.log_softmax(model(ids).double(), dim=-1)
            for row, column in (targets >= 0).nonzero().tolist():
                target = int(targets[row, column])
                loss = -log_probability[row, column, target].item()
                all_nats, count = all_nats + loss, count + 1
                if lengths[target]:
                    nats, text_bytes = nats + loss, text_bytes + int(lengths[target])
    found = _evaluate(model, batches, lengths)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / text_bytes, rel=1e-5)
    assert found.loss == pytest.approx(all_nats / count, rel=1e-5)


def test_the_same_batches_give_the_same_figure_to_the_last_bit() -> None:
    batches = [(tokens(seed=seed), tokens(seed=seed + 50)) for seed in range(2)]
    first, second = (_evaluate(lively(), batches, _lengths()) for _ in range(2))
    assert first == second


def test_each_batch_reports_the_part_that_is_done() -> None:
    fractions: list[float] = []
    _evaluate(lively(), [(tokens(), tokens(seed=6))] * 4, _lengths(), fractions)
    assert fractions == [0.25, 0.5, 0.75, 1.0]


def test_batches_of_unknown_number_report_an_unknown_part() -> None:
    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        yield tokens(), tokens(seed=6)
        yield tokens(), tokens(seed=7)

    fractions: list[float] = []
    bits_per_byte(lively(), endless(), _lengths(), recipe("fp32"), CPU, fractions.append)
    assert fractions == [-1.0, -1.0]


def test_a_command_between_two_batches_ends_the_evaluation() -> None:
    class StopNowError(Exception):
        pass

    seen = []

    def between(fraction: float) -> None:
        seen.append(fraction)
        raise StopNowError

    batches = [(tokens(), tokens(seed=6))] * 3
    with pytest.raises(StopNowError):
        bits_per_byte(lively(), batches, _lengths(), recipe("fp32"), CPU, between)
    assert len(seen) == 1


@pytest.mark.parametrize("target", [-1, 13])
def test_nothing_to_evaluate_is_an_error_and_not_a_number(target: int) -> None:
    targets = torch.full((1, 8), target)
    with pytest.raises(ValueError, match="no target stands for any text"):
        _evaluate(lively(), [(tokens(sequences=1)[:, :8], targets)], _lengths(id13=0))


def test_evaluation_leaves_no_gradients_behind() -> None:
    model = lively()
    _evaluate(model, [(tokens(), tokens(seed=6))], _lengths())
    assert all(weight.grad is None for weight in model.parameters())
