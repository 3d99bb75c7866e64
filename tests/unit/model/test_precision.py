"""What each recipe keeps in which format."""

from __future__ import annotations

import pytest
import torch

from tests.unit.model.small import lively, run_spec, same_bytes, tokens
from trainer.model import NanoChat
from trainer.optim import Optimizer
from trainer.precision import build, keep, recipe

CPU = torch.device("cpu")


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'fp8'.*fp32, bf16"):
        recipe("fp8")


def test_fp32_keeps_everything_in_float32() -> None:
    model = keep(lively(), run_spec()).model
    dtypes = {tensor.dtype for tensor in (*model.parameters(), *model.buffers())}
    assert dtypes == {torch.float32}
    with recipe("fp32").autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")


def test_bf16_keeps_masters_in_float32_and_the_embedding_in_bf16() -> None:
    spec = run_spec(precision="bf16")
    keeping = keep(lively(), spec)
    model = keeping.model
    in_bf16 = {name for name, each in model.named_parameters() if each.dtype == torch.bfloat16}
    assert in_bf16 == {"transformer.wte.weight"}
    assert {table.dtype for table in model.buffers()} == {torch.bfloat16}
    state = Optimizer(keeping, spec).state_tensors()
    moments_in_bf16 = {name for name, each in state.items() if each.dtype == torch.bfloat16}
    assert moments_in_bf16 == {
        "adamw.exp_avg.transformer.wte.weight",
        "adamw.exp_avg_sq.transformer.wte.weight",
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_built_model_holds_what_a_drawn_one_is_rounded_to(precision: str) -> None:
    spec = run_spec(precision=precision)
    drawn = NanoChat(spec.model)
    drawn.init_weights(spec.seed)
    kept, built = keep(drawn, spec).model, build(spec, CPU).model
    for name, tensor in (*built.named_parameters(), *built.named_buffers()):
        there = kept.get_buffer(name) if "rope" in name else kept.get_parameter(name)
        assert same_bytes(tensor, there)


def test_bf16_computes_almost_the_same_loss_and_gradients() -> None:
    exact, rounded = lively(), lively()
    chosen = keep(rounded, run_spec(precision="bf16")).recipe
    ids, targets = tokens(), tokens(seed=6)
    exact_loss = exact.loss(ids, targets)
    with chosen.autocast(CPU):
        rounded_loss = rounded.loss(ids, targets)
    assert rounded_loss.dtype == torch.float32
    assert rounded_loss.item() == pytest.approx(exact_loss.item(), rel=0.02)
    assert rounded_loss.item() != exact_loss.item()
    torch.autograd.backward(exact_loss)
    torch.autograd.backward(rounded_loss)
    for name, weight in rounded.named_parameters():
        other = exact.get_parameter(name).grad
        assert weight.grad is not None
        assert other is not None
        assert weight.grad.dtype == weight.dtype
        cosine = torch.cosine_similarity(weight.grad.float().flatten(), other.flatten(), dim=0)
        assert cosine.item() > 0.99, name


def test_a_bf16_model_answers_without_autocast_too() -> None:
    model = keep(lively(), run_spec(precision="bf16")).model
    with torch.no_grad():
        assert model(tokens()).isfinite().all()
