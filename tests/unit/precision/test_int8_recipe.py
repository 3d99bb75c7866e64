"""int8: bf16-8bit to the byte, but for what the blocks' matmuls round."""

from __future__ import annotations

import pytest
import torch

from tests.unit.model.small import lively, run_spec, same_bytes, tokens
from trainer.contract.spec import ModelSpec
from trainer.model import Linear
from trainer.precision import keep
from trainer.precision.int8 import Int8Linear
from trainer.state import State

CPU = torch.device("cpu")
DEPTH_2 = ModelSpec(depth=2, vocab_size=512, sequence_length=32)


def test_it_keeps_what_bf16_8bit_keeps() -> None:
    ours, theirs = (State(run_spec(DEPTH_2, precision=name), CPU) for name in ("int8", "bf16-8bit"))
    for file, tensors in theirs.files().items():
        found = ours.files()[file]
        assert list(found) == list(tensors)
        assert all(same_bytes(each, found[name]) for name, each in tensors.items())
    assert ours.live_bytes() == theirs.live_bytes()


def test_blocks_multiply_in_int8_and_the_head_does_not() -> None:
    model = State(run_spec(DEPTH_2, precision="int8"), CPU).model
    kinds = {name: type(each) for name, each in model.named_modules() if isinstance(each, Linear)}
    assert {name for name, kind in kinds.items() if kind is Linear} == {"lm_head"}
    assert sum(kind is Int8Linear for kind in kinds.values()) == 6 * DEPTH_2.depth


def test_loss_and_gradients_stay_close_to_bf16_and_are_not_the_same() -> None:
    ours = keep(lively(DEPTH_2), run_spec(DEPTH_2, precision="int8"))
    theirs = keep(lively(DEPTH_2), run_spec(DEPTH_2, precision="bf16-8bit"))
    ids, targets = tokens(DEPTH_2), tokens(DEPTH_2, seed=6)
    losses = [keeping.model.loss(ids, targets) for keeping in (ours, theirs)]
    for loss in losses:
        torch.autograd.backward(loss)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.02)
    assert losses[0].item() != losses[1].item()
    for left, right in zip(ours.trained, theirs.trained, strict=True):
        found, expected = left.gradient.sum(), right.gradient.sum()
        assert found is not None
        assert expected is not None
        assert found.dtype == torch.bfloat16
        pair = (found.float().flatten(), expected.float().flatten())
        assert torch.cosine_similarity(*pair, dim=0).item() > 0.98, left.name


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated")
def test_a_compiled_layer_is_one_graph_and_computes_the_same() -> None:
    plain = Linear(64, 96)
    torch.nn.init.normal_(plain.weight)
    layer = Int8Linear(plain.bfloat16())

    def twice(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = layer(x)
        return y * 2

    x = torch.randn(5, 64).bfloat16().requires_grad_()
    found = torch.compile(twice, backend="aot_eager", fullgraph=True)(x)
    assert same_bytes(found, twice(x))
    gradients = [torch.autograd.grad(y.sum(), (x, layer.weight)) for y in (found, twice(x))]
    for compiled, eager in zip(*gradients, strict=True):
        assert same_bytes(compiled, eager)
