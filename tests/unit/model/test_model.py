"""The architecture: names, start values, causality, the loss and its gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from tests.unit.model.small import DEPTH_1, lively, same_bytes, tokens
from trainer.contract.spec import ModelSpec
from trainer.model import NanoChat

DEPTH_2 = ModelSpec(depth=2, vocab_size=512, sequence_length=32)


def test_a_checkpoint_has_exactly_the_names_of_nanochat() -> None:
    block = ["attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    expected = ["transformer.wte.weight", "lm_head.weight"]
    expected += [f"transformer.h.{layer}.{name}.weight" for layer in (0, 1) for name in block]
    assert sorted(NanoChat(DEPTH_2).state_dict()) == sorted(expected)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, second, other = NanoChat(DEPTH_2), NanoChat(DEPTH_2), NanoChat(DEPTH_2)
    first.init_weights(1)
    torch.rand(17)  # somebody else draws from the global generator
    second.init_weights(1)
    other.init_weights(2)
    for name, weight in first.state_dict().items():
        assert same_bytes(weight, second.state_dict()[name])
    assert not torch.equal(first.transformer.wte.weight, other.transformer.wte.weight)


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    NanoChat(DEPTH_1).init_weights(1)
    assert torch.equal(torch.rand(4), expected)


def test_start_values_are_those_of_nanochat() -> None:
    model = NanoChat(ModelSpec(depth=4, vocab_size=2048, sequence_length=32))
    model.init_weights(11)
    weights = model.state_dict()
    wide = 1 / math.sqrt(256)
    deviations = {
        "transformer.wte.weight": 1.0,
        "transformer.h.1.attn.c_q.weight": wide,
        "transformer.h.3.attn.c_v.weight": wide,
        "transformer.h.0.mlp.c_fc.weight": wide,
    }
    for name, deviation in deviations.items():
        assert weights[name].std().item() == pytest.approx(deviation, rel=0.02)
        assert abs(weights[name].mean().item()) < 0.02 * deviation
    for name, weight in weights.items():
        assert weight.any() == (name != "lm_head.weight" and "c_proj" not in name)


def test_narrow_key_matrices_start_narrower() -> None:
    model = NanoChat(ModelSpec(depth=8, vocab_size=512, sequence_length=32, kv_heads=1))
    model.init_weights(11)
    key = model.state_dict()["transformer.h.0.attn.c_k.weight"]
    assert key.shape == (128, 512)
    assert key.std().item() == pytest.approx(math.sqrt(128 / 512) / math.sqrt(512), rel=0.02)


def test_the_first_loss_is_that_of_a_guess() -> None:
    model = NanoChat(DEPTH_2)
    model.init_weights(1)
    ids = tokens(DEPTH_2)
    assert model.loss(ids, ids).item() == pytest.approx(math.log(512), abs=1e-5)


def test_no_token_sees_a_later_one() -> None:
    model = lively(DEPTH_2)
    ids = tokens(DEPTH_2, sequences=1)
    changed = ids.clone()
    changed[0, 20] = (changed[0, 20] + 1) % 512
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[0, :20], after[0, :20])
    assert not torch.equal(before[0, 20:], after[0, 20:])


def test_positions_matter() -> None:
    model = lively(DEPTH_2)
    ids = tokens(DEPTH_2, sequences=1)
    swapped = ids.clone()
    swapped[0, [3, 9]] = ids[0, [9, 3]]
    with torch.no_grad():
        assert not torch.allclose(model(ids)[0, -1], model(swapped)[0, -1])


def test_logits_are_float32_and_never_leave_the_cap() -> None:
    model = lively()
    with torch.no_grad():
        model.lm_head.weight.mul_(1000)
        logits = model(tokens())
    assert logits.dtype == torch.float32
    assert logits.shape == (4, 32, 512)
    assert 14.9 < logits.abs().max().item() <= 15.0


def test_more_tokens_than_the_context_are_refused() -> None:
    model = lively()
    with pytest.raises(ValueError, match="33 tokens do not fit into a context of 32"):
        model(torch.zeros(1, 33, dtype=torch.int64))


@pytest.mark.parametrize("sequences", [1, 20], ids=["one chunk", "several chunks"])
def test_the_loss_and_its_gradients_are_those_of_the_plain_formula(sequences: int) -> None:
    model = lively(DEPTH_2)
    ids, targets = (
        tokens(DEPTH_2, sequences=sequences),
        tokens(DEPTH_2, sequences=sequences, seed=6),
    )
    targets[0, :9] = -1

    loss = model.loss(ids, targets)
    torch.autograd.backward(loss)
    gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    plain = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1)
    torch.autograd.backward(plain)

    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    assert len(gradients) == len(list(model.parameters()))
    for gradient, weight in zip(gradients, model.parameters(), strict=True):
        assert weight.grad is not None
        scale = weight.grad.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-5 * scale)


def test_gradients_scale_with_what_comes_from_above() -> None:
    model = lively()
    ids = tokens()
    torch.autograd.backward(model.loss(ids, ids))
    once = model.lm_head.weight.grad
    assert once is not None
    once = once.clone()
    model.zero_grad()
    torch.autograd.backward(model.loss(ids, ids) / 4)
    assert model.lm_head.weight.grad is not None
    torch.testing.assert_close(model.lm_head.weight.grad, once / 4)


@pytest.mark.parametrize("with_gradients", [False, True])
def test_losses_by_token_average_to_the_mean(with_gradients: bool) -> None:
    model = lively(DEPTH_2)
    ids, targets = tokens(DEPTH_2, sequences=9), tokens(DEPTH_2, sequences=9, seed=6)
    targets[2, :] = -1
    with torch.set_grad_enabled(with_gradients):
        losses = model.loss(ids, targets, reduction="none")
        mean = model.loss(ids, targets)
    assert losses.shape == targets.shape
    assert losses.requires_grad == with_gradients
    assert not losses[2].any()
    assert (losses.sum() / (8 * 32)).item() == pytest.approx(mean.item(), rel=1e-5)


def test_two_trainings_end_with_the_same_bytes() -> None:
    def trained() -> NanoChat:
        model = lively(DEPTH_2)
        for seed in range(3):
            torch.autograd.backward(
                model.loss(tokens(DEPTH_2, seed=seed), tokens(DEPTH_2, seed=seed + 9))
            )
            with torch.no_grad():
                for weight in model.parameters():
                    assert weight.grad is not None
                    weight.sub_(weight.grad, alpha=0.01)
            model.zero_grad()
        return model

    first, second = trained().state_dict(), trained().state_dict()
    assert all(same_bytes(weight, second[name]) for name, weight in first.items())


def test_the_loss_over_a_compiled_trunk_is_the_same_loss() -> None:
    model = lively(DEPTH_2)
    ids, targets = tokens(DEPTH_2), tokens(DEPTH_2, seed=6)
    # tracing only, without a compiler for the machine's own code
    trunk = torch.compile(model.hidden, backend="aot_eager")
    expected = model.loss(ids, targets)
    found = model.loss(ids, targets, trunk=trunk)
    torch.testing.assert_close(found, expected)
    torch.autograd.backward(found)
    gradient = model.lm_head.weight.grad
    assert gradient is not None
    model.zero_grad()
    torch.autograd.backward(expected)
    assert model.lm_head.weight.grad is not None
    torch.testing.assert_close(gradient, model.lm_head.weight.grad, rtol=1e-4, atol=1e-6)
