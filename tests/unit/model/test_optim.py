"""Muon, AdamW, clipping and schedules against a reference of their own in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.unit.model.small import lively, run_spec, same_bytes, tokens
from trainer.contract.spec import ModelSpec
from trainer.model import NanoChat
from trainer.optim import Optimizer, lr_multiplier, muon_momentum, orthogonalize
from trainer.precision import keep, recipe

DEPTH_2 = ModelSpec(depth=2, vocab_size=512, sequence_length=32)
#: two query heads share one key/value head, so there are wide matrices in attention, too
GROUPED = ModelSpec(depth=3, vocab_size=512, sequence_length=32, kv_heads=1)


class Reference:
    """The recipe once more: float64, one weight after the other, straight from its text."""

    def __init__(self, weights: dict[str, Tensor], width: int, clip: float, lr_scale: float):
        self.weights = {name: each.detach().double() for name, each in weights.items()}
        self.first = {name: torch.zeros_like(each) for name, each in self.weights.items()}
        self.second = {name: torch.zeros_like(each) for name, each in self.weights.items()}
        self.width, self.clip, self.lr_scale = width, clip, lr_scale

    def step(self, step: int, steps: int, gradients: dict[str, Tensor]) -> float:
        all_gradients = {name: each.detach().double() for name, each in gradients.items()}
        norm = math.sqrt(sum((each**2).sum().item() for each in all_gradients.values()))
        factor = min(1.0, self.clip / norm) if self.clip else 1.0
        left = (steps - step) / (0.2 * steps)
        rate = self.lr_scale * min(1.0, left)
        for name, gradient in all_gradients.items():
            if name.startswith("transformer.h."):
                self._muon(name, factor * gradient, step, rate)
            else:
                self._adamw(name, factor * gradient, step, rate)
        return norm

    def _muon(self, name: str, gradient: Tensor, step: int, rate: float) -> None:
        momentum = 0.85 + 0.10 * min(1.0, step / 300)
        self.first[name] = momentum * self.first[name] + (1 - momentum) * gradient
        ahead = momentum * self.first[name] + (1 - momentum) * gradient
        tall = ahead.shape[0] > ahead.shape[1]
        x = ahead.T if tall else ahead
        x = x / (x**2).sum().sqrt()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        rows, columns = ahead.shape
        rate *= 0.02 * math.sqrt(max(1.0, rows / columns))
        self.weights[name] = self.weights[name] - rate * (x.T if tall else x)

    def _adamw(self, name: str, gradient: Tensor, step: int, rate: float) -> None:
        self.first[name] = 0.8 * self.first[name] + 0.2 * gradient
        self.second[name] = 0.95 * self.second[name] + 0.05 * gradient**2
        mean = self.first[name] / (1 - 0.8 ** (step + 1))
        square = self.second[name] / (1 - 0.95 ** (step + 1))
        rate *= (0.004 if name == "lm_head.weight" else 0.2) * math.sqrt(768 / self.width)
        self.weights[name] = self.weights[name] - rate * mean / (square.sqrt() + 1e-10)


def _give_gradients(model: NanoChat, seed: int, size: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    given = {}
    for name, weight in model.named_parameters():
        gradient = size * torch.randn(weight.shape, generator=generator)
        weight.grad = gradient.to(weight.dtype)
        given[name] = weight.grad.clone()
    return given


@pytest.mark.parametrize("model", [DEPTH_2, GROUPED], ids=["equal heads", "grouped heads"])
@pytest.mark.parametrize("clip", [1.0, 0.0], ids=["clipped", "not clipped"])
def test_steps_are_those_of_the_float64_reference(model: ModelSpec, clip: float) -> None:
    spec = run_spec(model, clip=clip, lr_scale=0.5)
    made = lively(model)
    reference = Reference(dict(made.named_parameters()), made.shape.width, clip, 0.5)
    optimizer = Optimizer(keep(made, spec), spec)
    for step in (0, 1, 2, 9):  # the last one in the warm-down
        gradients = _give_gradients(made, step, size=0.01)
        norm = optimizer.step(step, 10)
        assert norm == pytest.approx(reference.step(step, 10, gradients), rel=1e-5)
    for name, weight in made.named_parameters():
        torch.testing.assert_close(weight.double(), reference.weights[name], rtol=0, atol=2e-5)


def test_gradients_below_the_clip_are_left_as_they_are() -> None:
    clipped, free = lively(), lively()
    for model, clip in ((clipped, 1.0), (free, 0.0)):
        optimizer = Optimizer(keep(model, run_spec(clip=clip)), run_spec(clip=clip))
        _give_gradients(model, 1, size=1e-4)
        assert optimizer.step(0, 10) < 1.0
    for name, weight in clipped.named_parameters():
        assert same_bytes(weight, free.get_parameter(name))


@pytest.mark.parametrize("shape", [(5, 32, 32), (3, 16, 64), (1, 8, 8)])
def test_orthogonalized_matrices_are_nearly_so(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    # the iteration needs singular values that are not tiny beside the others
    spread = singular.clamp_min(0.1 * singular.amax(-1, keepdim=True))
    found = orthogonalize(left * spread.unsqueeze(-2) @ right)
    values = torch.linalg.svdvals(found)
    assert values.min().item() > 0.5
    assert values.max().item() < 1.5
    alignment = (found * (left @ right)).sum((-2, -1)) / shape[1]
    assert alignment.min().item() > 0.6


def test_a_zero_gradient_moves_no_matrix() -> None:
    model = lively()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = Optimizer(keep(model, run_spec()), run_spec())
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    assert optimizer.step(0, 10) == 0.0
    assert all(same_bytes(weight, before[name]) for name, weight in model.state_dict().items())


def test_bf16_newton_schulz_stays_close_to_float32() -> None:
    matrices = torch.randn(4, 32, 64, generator=torch.Generator().manual_seed(1))
    exact, rounded = orthogonalize(matrices), orthogonalize(matrices.bfloat16()).float()
    cosine = torch.cosine_similarity(exact.flatten(1), rounded.flatten(1))
    assert cosine.min().item() > 0.999
    assert not torch.equal(exact, rounded)


def test_learning_rate_is_flat_and_then_falls_to_zero() -> None:
    assert [lr_multiplier(step, 10, 0.2) for step in range(11)] == [1.0] * 9 + [0.5, 0.0]
    assert lr_multiplier(71_679, 71_680, 0.2) == pytest.approx(1 / 14_336)
    assert [lr_multiplier(step, 4, 1.0) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [lr_multiplier(step, 3, 0.0) for step in range(4)] == [1.0] * 4
    assert lr_multiplier(12, 10, 0.2) == 0.0


def test_momentum_rises_over_three_hundred_steps() -> None:
    assert muon_momentum(0) == pytest.approx(0.85)
    assert muon_momentum(150) == pytest.approx(0.90)
    assert muon_momentum(300) == muon_momentum(10**6) == pytest.approx(0.95)


def _train(model: NanoChat, optimizer: Optimizer, precision: str, steps: range) -> None:
    for step in steps:
        with recipe(precision).autocast(torch.device("cpu")):
            loss = model.loss(tokens(DEPTH_2, seed=step), tokens(DEPTH_2, seed=step + 99))
        torch.autograd.backward(loss)
        optimizer.step(step, 10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_restored_training_goes_on_with_the_same_bytes(precision: str) -> None:
    spec = run_spec(DEPTH_2, precision=precision)

    def fresh(seed: int) -> tuple[NanoChat, Optimizer]:
        model = lively(DEPTH_2, seed)
        return model, Optimizer(keep(model, spec), spec)

    model, optimizer = fresh(3)
    _train(model, optimizer, precision, range(4))
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    state = {name: each.clone() for name, each in optimizer.state_tensors().items()}
    _train(model, optimizer, precision, range(4, 8))

    other_model, other = fresh(8)
    _train(other_model, other, precision, range(1))  # its own history must leave no trace
    other_model.load_state_dict(weights)
    other.load_state_tensors(state)
    assert all(same_bytes(each, state[name]) for name, each in other.state_tensors().items())
    _train(other_model, other, precision, range(4, 8))

    for name, weight in model.state_dict().items():
        assert same_bytes(weight, other_model.state_dict()[name]), name
    for name, each in optimizer.state_tensors().items():
        assert same_bytes(each, other.state_tensors()[name]), name


def test_the_state_is_there_before_the_first_step_under_names_that_last() -> None:
    model = lively()
    state = Optimizer(keep(model, run_spec()), run_spec()).state_tensors()
    expected = {
        f"adamw.{moment}.{name}"
        for moment in ("exp_avg", "exp_avg_sq")
        for name in ("lm_head.weight", "transformer.wte.weight")
    }
    expected |= {f"muon.momentum.{name}" for name in model.state_dict() if ".h." in name}
    assert state.keys() == expected
    assert not any(tensor.any() for tensor in state.values())


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    optimizer = Optimizer(keep(lively(), run_spec()), run_spec())
    good = {name: torch.ones_like(each) for name, each in optimizer.state_tensors().items()}
    head, wte = "adamw.exp_avg.lm_head.weight", "adamw.exp_avg.transformer.wte.weight"
    query = "muon.momentum.transformer.h.0.attn.c_q.weight"
    bad = {**good, "stray": torch.ones(1), head: good[head].bfloat16(), wte: good[wte][:5]}
    del bad[query]
    with pytest.raises(ValueError, match="no state of this optimizer") as caught:
        optimizer.load_state_tensors(bad)
    message = str(caught.value)
    assert "stray is unknown" in message
    assert f"{query} is missing" in message
    assert f"{head} is bfloat16 [512, 64] instead of float32 [512, 64]" in message
    assert f"{wte} is float32 [5, 64] instead of float32 [512, 64]" in message
    assert not any(tensor.any() for tensor in optimizer.state_tensors().values())


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(poison: float) -> None:
    model = lively()
    optimizer = Optimizer(keep(model, run_spec()), run_spec())
    _give_gradients(model, 1, size=0.1)
    optimizer.step(0, 10)
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    state = {name: each.clone() for name, each in optimizer.state_tensors().items()}

    _give_gradients(model, 2, size=0.1)
    gradient = model.lm_head.weight.grad
    assert gradient is not None
    gradient[3, 4] = poison
    assert not math.isfinite(optimizer.step(1, 10))

    assert all(same_bytes(each, weights[name]) for name, each in model.state_dict().items())
    assert all(same_bytes(each, state[name]) for name, each in optimizer.state_tensors().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_step_without_gradients_says_which_weight_has_none() -> None:
    model = lively()
    optimizer = Optimizer(keep(model, run_spec()), run_spec())
    _give_gradients(model, 1, size=0.1)
    model.lm_head.weight.grad = None
    with pytest.raises(ValueError, match=r"lm_head\.weight has no gradient"):
        optimizer.step(0, 10)


def test_a_step_drops_the_gradients() -> None:
    model = lively()
    optimizer = Optimizer(keep(model, run_spec()), run_spec())
    _give_gradients(model, 1, size=0.1)
    optimizer.step(0, 10)
    assert all(weight.grad is None for weight in model.parameters())


def test_the_recipe_learns_a_batch_by_heart() -> None:
    model = NanoChat(DEPTH_2)
    model.init_weights(1)
    optimizer = Optimizer(keep(model, run_spec(DEPTH_2)), run_spec(DEPTH_2))
    ids, targets = tokens(DEPTH_2), tokens(DEPTH_2, seed=6)
    losses = []
    for step in range(25):
        loss = model.loss(ids, targets)
        torch.autograd.backward(loss)
        optimizer.step(step, 25)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(512), abs=1e-4)
    assert losses[-1] < 0.5
