"""Sampling is a pure function of its arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from tests.unit.model.small import DEPTH_1, lively, run_spec
from trainer.chat import Choice, Decoder, greedy, sample
from trainer.kv_cache import window_start
from trainer.model import NanoChat
from trainer.precision import keep


class Letters:
    """A vocabulary of single characters; bos is 511."""

    bos = 511

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return "".join(chr(token) for token in ids).encode()


def _sample(model: NanoChat, *, seed: int = 1, temperature: float = 1.0, top_k: int = 50) -> str:
    return sample(model, Letters(), "ab", 24, Choice(temperature, top_k, seed))


def test_the_same_seed_writes_the_same_text_and_begins_with_the_prompt() -> None:
    model = lively()
    first = _sample(model)
    torch.rand(3)  # somebody else draws from the global generator
    assert _sample(model) == first
    assert first.startswith("ab")
    assert 2 < len(first) <= 26


def test_another_seed_writes_another_text() -> None:
    model = lively()
    assert len({_sample(model, seed=seed) for seed in range(5)}) == 5


def test_sampling_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    _sample(lively())
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, 50), (1.0, 1)])
def test_no_temperature_and_no_choice_are_both_greedy(temperature: float, top_k: int) -> None:
    model = lively()
    expected = greedy(model, [511, ord("a"), ord("b")], 24)
    written = _sample(model, temperature=temperature, top_k=top_k)
    assert written == "ab" + "".join(map(chr, expected))


def test_greedy_takes_the_likeliest_token_each_time_even_past_the_context() -> None:
    model = lively()
    ids = [511, 5, 6]
    written = greedy(model, ids, 40)
    assert len(written) == 40
    everything = ids + written
    with torch.no_grad():
        for place in (3, 20, 33, 42):
            seen = torch.tensor([everything[window_start(place, 32) : place]])
            assert everything[place] == int(model(seen)[0, -1].argmax())


def test_top_k_never_draws_outside_the_k_likeliest() -> None:
    model = lively()
    with torch.no_grad():
        likeliest = set(model(torch.tensor([[511, 97, 98]]))[0, -1].topk(3).indices.tolist())
    drawn = {ord(sample(model, Letters(), "ab", 1, Choice(5.0, 3, seed))[2:]) for seed in range(40)}
    assert drawn <= likeliest
    assert len(drawn) > 1


def test_writing_ends_with_the_document() -> None:
    model = lively()
    with torch.no_grad():
        # all logits are the cap for bos and its negative for the rest
        hidden = model.hidden(torch.tensor([[511, 97, 98]]))[0, -1]
        model.lm_head.weight.copy_(-1000 * hidden.expand_as(model.lm_head.weight))
        model.lm_head.weight[511] = 1000 * hidden
    assert _sample(model) == "ab"
    assert greedy(model, [511, 97, 98], 2)[0] == 511


@pytest.mark.parametrize(("temperature", "top_k"), [(-1.0, 50), (math.nan, 50), (1.0, -1)])
def test_senseless_choices_are_refused(temperature: float, top_k: int) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Choice(temperature, top_k)


def test_nothing_cannot_be_continued() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        greedy(lively(), [], 3)


def test_no_tokens_are_the_prompt_alone() -> None:
    assert sample(lively(), Letters(), "ab", 0, Choice()) == "ab"


def test_a_bf16_model_writes_without_autocast() -> None:
    model = lively(DEPTH_1)
    keep(model, run_spec(precision="bf16"))
    assert _sample(model) == _sample(model)


# --- text while it is written ---------------------------------------------------------------


class Bytes:
    """A vocabulary of single bytes: nearly every character takes several tokens."""

    bos = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(ids)


def test_a_character_appears_when_its_last_byte_is_there() -> None:
    decoder = Decoder(Bytes())
    assert [decoder.feed(byte) for byte in "a\u00e9\U0001f600".encode()] == [
        "a",
        "",
        "\u00e9",
        "",
        "",
        "",
        "\U0001f600",
    ]
    assert decoder.end() == ""


def test_a_character_that_is_cut_off_is_told_at_the_end_and_spoils_nothing_after() -> None:
    decoder = Decoder(Bytes())
    assert decoder.feed(0xE2) + decoder.feed(0x82) == ""
    assert decoder.end() == "\ufffd"
    assert decoder.feed(ord("x")) == "x"


@given(some.binary(max_size=40))
def test_streamed_text_is_the_text_of_all_tokens_together(raw: bytes) -> None:
    decoder = Decoder(Bytes())
    streamed = "".join(decoder.feed(byte) for byte in raw) + decoder.end()
    assert streamed == raw.decode(errors="replace")
