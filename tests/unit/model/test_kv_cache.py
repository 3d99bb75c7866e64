"""With the cache the model says what it says without: same logits, same tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.unit.model.small import DEPTH_1, lively, run_spec, tokens
from trainer.chat import Choice, Chooser, continuation
from trainer.contract.spec import ModelSpec
from trainer.kv_cache import KeyValueCache, window_start
from trainer.model import NanoChat
from trainer.precision import RECIPES, keep

GROUPED = ModelSpec(depth=4, vocab_size=512, sequence_length=24, kv_heads=1)
DEPTH_2 = ModelSpec(depth=2, vocab_size=512, sequence_length=33)


def uncached(model: NanoChat, ids: list[int]) -> Tensor:
    """The logits after ``ids``, by the forward pass of training over the whole window."""
    window = ids[window_start(len(ids), model.shape.sequence_length) :]
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([window]))
    return logits[0, -1]


def some_tokens(count: int, seed: int = 5) -> list[int]:
    return tokens(dataclasses.replace(DEPTH_1, sequence_length=count), sequences=1, seed=seed)[
        0
    ].tolist()


@pytest.mark.parametrize("shape", [DEPTH_1, DEPTH_2, GROUPED])
@pytest.mark.parametrize("pieces", [[1] * 80, [5, 1, 1, 7, 20, 1, 1, 1, 40], [80]])
def test_logits_are_those_of_the_training_forward_however_the_text_comes(
    shape: ModelSpec, pieces: list[int]
) -> None:
    model = lively(shape)
    text = some_tokens(sum(pieces))
    cache = KeyValueCache(model)
    end = 0
    for piece in pieces:
        cache.extend(text[end : end + piece])
        end += piece
        torch.testing.assert_close(
            cache.logits(), uncached(model, text[:end]), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("choice", [Choice(0.0), Choice(1.0, top_k=0, seed=4), Choice(0.7, seed=9)])
def test_the_same_tokens_are_written_with_and_without_the_cache(choice: Choice) -> None:
    model = lively(DEPTH_2)
    cache = KeyValueCache(model)
    cache.extend([511, 7, 8])
    written = list(continuation(cache, Chooser(choice), 90, end=None))
    choose, expected = Chooser(choice), [511, 7, 8]
    while len(expected) < 93:
        expected.append(choose(uncached(model, expected)))
    assert [511, 7, 8, *written] == expected == cache.ids


def test_a_full_window_loses_its_older_half_and_always_sees_at_least_the_newer() -> None:
    assert [window_start(tokens, 8) for tokens in (1, 8, 9, 12, 13, 16, 17)] == [
        0,
        0,
        4,
        4,
        8,
        8,
        12,
    ]
    for context in (8, 9, 32, 33):
        for length in range(1, 5 * context):
            seen = length - window_start(length, context)
            assert min(length, context // 2) < seen + 1 <= context + 1


def test_each_new_token_passes_through_the_model_once_until_the_window_slides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = lively(DEPTH_1)
    read: list[int] = []
    model.transformer.wte.register_forward_pre_hook(lambda _, args: read.append(args[0].numel()))
    cache = KeyValueCache(model)
    cache.extend(some_tokens(30))
    for _ in continuation(cache, lambda logits: 1, 5, end=None):
        pass
    assert read == [30, 1, 1, 17, 1]
    cache.logits()
    cache.logits()
    assert read[5:] == [1], "what has been read is not read again"


@pytest.mark.parametrize("precision", RECIPES)
def test_the_cache_is_right_for_every_recipe(precision: str) -> None:
    model = keep(lively(DEPTH_2), run_spec(DEPTH_2, precision=precision)).model
    text = some_tokens(40)
    cache = KeyValueCache(model)
    for end in range(1, 41):
        cache.extend(text[end - 1 : end])
        torch.testing.assert_close(cache.logits(), uncached(model, text[:end]), rtol=0.05, atol=0.3)


def test_gradients_and_training_mode_are_left_alone() -> None:
    model = lively()
    cache = KeyValueCache(model)
    cache.extend([3, 4])
    assert not cache.logits().requires_grad
    assert torch.is_grad_enabled()
    assert model.training
