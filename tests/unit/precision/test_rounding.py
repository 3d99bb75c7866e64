"""Stochastic rounding: unbiased, reproducible, blind to chunks; the residual round-trips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from trainer.precision import rounding
from trainer.precision.rounding import (
    join_24_bits,
    random_words,
    round_to_bf16,
    split_to_24_bits,
    stream_key,
)

CPU = torch.device("cpu")
KEY = stream_key(7, 3, "transformer.h.0.attn.c_q.weight")


def rounded(values: Tensor, key: rounding.Key = KEY, first: int = 0) -> Tensor:
    out = torch.empty(values.shape, dtype=torch.bfloat16)
    round_to_bf16(values, key, first, out)
    return out


def split(values: Tensor, key: rounding.Key = KEY) -> tuple[Tensor, Tensor]:
    out = torch.empty(values.shape, dtype=torch.bfloat16)
    residual = torch.empty(values.shape, dtype=torch.int8)
    split_to_24_bits(values, key, 0, out, residual)
    return out, residual


def normal(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def neighbours(values: Tensor) -> tuple[Tensor, Tensor]:
    """The bf16 numbers towards zero and away from it."""
    inner = (values.view(torch.int32) >> 16).to(torch.int16)
    return inner.view(torch.bfloat16), (inner + 1).view(torch.bfloat16)


def test_a_number_becomes_one_of_its_two_neighbours() -> None:
    values = normal(10_000)
    inner, outer = neighbours(values)
    found = rounded(values)
    assert bool(((found == inner) | (found == outer)).all())
    assert 0.45 < (found == inner).float().mean().item() < 0.55


def test_bf16_numbers_stay_what_they_are() -> None:
    values = normal(10_000).bfloat16()
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 3e38], dtype=torch.bfloat16)
    for each in (values, special):
        found = rounded(each.float())
        assert torch.equal(found.view(torch.int16), each.view(torch.int16))


@pytest.mark.parametrize("value", [1.001, -1.001, 3.14159, -2e-5, 1e-39])
def test_the_mean_of_many_roundings_is_the_number(value: float) -> None:
    """Within five standard errors, over elements and over steps."""
    values = torch.full((1 << 16,), value)
    for found in (
        rounded(values).double(),
        torch.cat(
            [rounded(values[:64], stream_key(1, step, "w")) for step in range(1024)]
        ).double(),
    ):
        low, high = found.min().item(), found.max().item()
        exact = values[0].double().item()
        share = (exact - low) / (high - low)
        error = abs((found == high).double().mean().item() - share)
        assert error < 5 * (share * (1 - share) / found.numel()) ** 0.5


@given(
    values=some.lists(some.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    cut=some.integers(0, 50),
)
def test_a_tensor_in_pieces_is_rounded_like_the_whole(values: list[float], cut: int) -> None:
    whole = torch.tensor(values)
    parts = [rounded(whole[:cut]), rounded(whole[cut:], first=min(cut, len(values)))]
    assert torch.equal(torch.cat(parts).view(torch.int16), rounded(whole).view(torch.int16))


def test_the_size_of_the_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = normal(5000)
    whole, (nearest, residual) = rounded(values), split(values)
    monkeypatch.setattr(rounding, "_CHUNK_CPU", 77)
    assert torch.equal(rounded(values), whole)
    assert all(map(torch.equal, split(values), (nearest, residual)))
    assert torch.equal(join_24_bits(nearest, residual), join_24_bits(*split(values)))


def test_streams_differ_by_run_step_and_tensor() -> None:
    keys = [stream_key(s, t, n) for s in (1, 2) for t in (0, 1) for n in ("a", "b")]
    streams = [random_words(key, 0, 1000, CPU) for key in keys]
    for index, one in enumerate(streams):
        for other in streams[:index]:
            assert (one == other).float().mean().item() < 0.01


def test_the_stream_is_what_it_always_was() -> None:
    """Runs go on after an update of homerun only if these numbers stay."""
    assert stream_key(7, 3, "x") == (2057055860, 1206068967)
    words = [-889199728, -787275391, -726475646, -238177609]
    assert random_words((1, 2), 0, 4, CPU).tolist() == words
    assert random_words((1, 2), 2, 2, CPU).tolist() == words[2:]


def test_the_hash_is_the_published_one() -> None:
    """Once more in plain Python, modulo 2^32."""

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % (1 << 32)
        x ^= x >> 15
        x = x * 0x846CA68B % (1 << 32)
        return x ^ x >> 16

    key = (-5, 1 << 30)
    expected = [mix((mix(i ^ (key[0] % (1 << 32))) + key[1]) % (1 << 32)) for i in range(1000)]
    found = [word % (1 << 32) for word in random_words(key, 0, 1000, CPU).tolist()]
    assert found == expected


def test_every_random_bit_is_fair_and_alone() -> None:
    words = random_words(KEY, 0, 1 << 16, CPU)
    bits = torch.stack([(words >> place) & 1 for place in range(32)]).double()
    assert (bits.mean(1) - 0.5).abs().max().item() < 5 * 0.5 / 256
    assert (torch.corrcoef(bits) - torch.eye(32)).abs().max().item() < 5 / 256
    neighbours = torch.corrcoef(torch.stack([words[1:].double(), words[:-1].double()]))
    assert abs(neighbours[0, 1].item()) < 5 / 256


def test_twenty_four_bits_round_trip() -> None:
    values = torch.cat((normal(20_000), 1e-3 * normal(20_000, 2), torch.tensor([0.0, -0.0])))
    joined = join_24_bits(*split(values))
    assert ((joined - values).abs() <= values.abs() * 2.0**-15).all()
    again = join_24_bits(*split(joined))
    assert torch.equal(again.view(torch.int32), joined.view(torch.int32))


def test_beside_a_residual_the_weight_is_the_nearest_bf16() -> None:
    values = normal(20_000)
    weights, residual = split(values)
    distance = (weights.double() - values.double()).abs()
    nearest = (values.bfloat16().double() - values.double()).abs()
    # the 24-bit number is what it is nearest to, half of its last place from the value
    assert (distance - nearest).max().item() < values.abs().max().item() * 2.0**-16
    assert int(residual.min()) == -128
    assert int(residual.max()) == 127


def test_small_updates_are_not_lost() -> None:
    """A 1024th of the last place, 2000 times: rounding to the nearest would stay where it is."""
    weight = torch.ones(4096, dtype=torch.bfloat16)
    exact, update = 1.0, 2.0**-17
    residual = torch.zeros(4096, dtype=torch.int8)
    fine = weight.clone()
    for step in range(2000):
        key = stream_key(1, step, "w")
        round_to_bf16(weight.float() + update, key, 0, weight)
        split_to_24_bits(join_24_bits(fine, residual) + update, key, 0, fine, residual)
        exact += update
    assert weight.double().mean().item() == pytest.approx(exact, abs=8.5e-4)
    assert join_24_bits(fine, residual).double().mean().item() == pytest.approx(exact, abs=5e-5)
    assert (torch.ones(1, dtype=torch.bfloat16) + update).item() == 1.0
    # what the residual is for: 256 times finer, so a sixteenth of the noise
    assert join_24_bits(fine, residual).std() < weight.float().std() / 12
