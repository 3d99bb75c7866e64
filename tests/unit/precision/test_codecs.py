"""Packed formats: what comes back, how far off it is, and how many bytes it takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.unit.model.small import same_bytes
from trainer.precision.codecs import (
    Codec,
    Nf3,
    Nf4,
    Seq2,
    Ternary,
    bits_per_number,
    nf3,
    packed_bytes,
)

CODECS: dict[str, Codec] = {
    codec.name: codec for codec in (Nf4(), Nf4(double=True), Nf3(), Seq2(), Ternary())
}
#: relative errors for normal numbers; those of NF4 and NF3 are published, the others follow from
#: the distortion of the best evenly spaced quantisers (J. Max, 1960) and gain by fitted scales
ERRORS = {"nf4": 0.092, "nf4-double": 0.092, "nf3": 0.202, "seq2": 0.342, "ternary": 0.433}
D32_ATTENTION, D32_MLP = (2048, 2048), (8192, 2048)
BITS = {
    "nf4": 4 + 32 / 64,
    "nf4-double": 4 + 8 / 64 + 32 / (64 * 256) + 32 / math.prod(D32_MLP),
    "nf3": 3 + 16 / 64,
    "seq2": 2 + 16 / 64,
    # 8,192 * 2,048 digits do not fill the last byte
    "ternary": 8 * math.ceil(math.prod(D32_MLP) / 5) / math.prod(D32_MLP) + 16 / 128,
}
BLOCKS = {"nf4": 64, "nf4-double": 64, "nf3": 64, "seq2": 64, "ternary": 128}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def _normal(*shape: int, seed: int = 1) -> Tensor:
    return 0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@each_codec
def test_normal_numbers_come_back_with_the_known_error(codec: Codec) -> None:
    matrix = _normal(256, 512)
    back = codec.decode(codec.encode(matrix), matrix.shape, torch.float32)
    error = ((back - matrix).norm() / matrix.norm()).item()
    assert error == pytest.approx(ERRORS[codec.name], rel=0.02)


@each_codec
def test_packed_tensors_are_those_of_the_layout_and_nothing_else(codec: Codec) -> None:
    for shape in ((64, 64), (128, 64), (192, 320), (2, 64)):
        packed = codec.encode(_normal(*shape))
        found = {name: (tuple(part.shape), part.dtype) for name, part in packed.items()}
        assert found == codec.layout(shape)
        held = sum(part.untyped_storage().nbytes() for part in packed.values())
        assert held == packed_bytes(codec, shape)


@each_codec
def test_bits_of_a_d32_matrix_are_those_of_the_arithmetic(codec: Codec) -> None:
    assert bits_per_number(codec, D32_MLP) == pytest.approx(BITS[codec.name], rel=1e-9)


def test_the_mixtures_have_the_bits_that_their_names_say() -> None:
    """A third of a block's matrices is attention, two thirds are MLP."""

    def mixture(attention: Codec, mlp: Codec) -> float:
        third = bits_per_number(attention, D32_ATTENTION) / 3
        return third + bits_per_number(mlp, D32_MLP) * 2 / 3

    assert mixture(Nf4(double=True), Ternary()) == pytest.approx(2.53, abs=0.005)
    # 2.67 counts the codes alone
    assert pytest.approx(2.67, abs=0.005) == (4 + 2 * 2) / 3
    assert mixture(Nf4(double=True), Seq2()) == pytest.approx(2.88, abs=0.005)


@each_codec
def test_the_same_matrix_gives_the_same_bytes_whatever_its_layout(codec: Codec) -> None:
    matrix = _normal(128, 192)
    first = codec.encode(matrix)
    for same in (matrix.clone(), matrix.T.contiguous().T):
        again = codec.encode(same)
        assert all(same_bytes(part, again[name]) for name, part in first.items())
    back = codec.decode(first, matrix.shape, torch.float32)
    assert same_bytes(back, codec.decode(first, matrix.shape, torch.float32))


@each_codec
def test_unpacking_to_bf16_is_unpacking_to_float32_and_rounding(codec: Codec) -> None:
    matrix = _normal(64, 192)
    packed = codec.encode(matrix)
    exact = codec.decode(packed, matrix.shape, torch.float32)
    assert same_bytes(codec.decode(packed, matrix.shape, torch.bfloat16), exact.bfloat16())


@each_codec
def test_what_was_unpacked_is_packed_to_the_same_numbers(codec: Codec) -> None:
    matrix = _normal(128, 128)
    once = codec.decode(codec.encode(matrix), matrix.shape, torch.float32)
    twice = codec.decode(codec.encode(once), matrix.shape, torch.float32)
    # quantised maxima move a little when they are quantised again, fitted scales by a rounding
    torch.testing.assert_close(twice, once, rtol=0.02, atol=0)


@each_codec
def test_zeros_come_back_as_zeros(codec: Codec) -> None:
    matrix = torch.zeros(128, 64)
    assert not codec.decode(codec.encode(matrix), matrix.shape, torch.float32).any()
    matrix[:64] = _normal(64, 64)
    back = codec.decode(codec.encode(matrix), matrix.shape, torch.float32)
    assert back.isfinite().all()
    assert back[64:].abs().max().item() < (1e-3 if codec == Nf4(double=True) else 1e-9)


@each_codec
@pytest.mark.parametrize("size", [1e-6, 1e3])
def test_very_small_and_very_large_numbers_keep_their_size(codec: Codec, size: float) -> None:
    matrix = size * _normal(128, 128) / 0.02
    back = codec.decode(codec.encode(matrix), matrix.shape, torch.float32)
    error = ((back - matrix).norm() / matrix.norm()).item()
    assert error == pytest.approx(ERRORS[codec.name], rel=0.1)


@pytest.mark.parametrize("codec", [Nf3(), Seq2(), Ternary()], ids=lambda codec: codec.name)
def test_numbers_beyond_float16_become_the_largest_scale(codec: Codec) -> None:
    matrix = 1e9 * _normal(2, 64)
    assert codec.decode(codec.encode(matrix), matrix.shape, torch.float32).isfinite().all()


@each_codec
def test_a_size_that_fills_no_block_is_refused_with_both_numbers(codec: Codec) -> None:
    block = BLOCKS[codec.name]
    for shape in ((5, 7), (1, block + 1), (0, block)):
        with pytest.raises(ValueError, match=rf"{codec.name} .*{block} .*{shape[0]}, {shape[1]}"):
            codec.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="packs matrices"):
        codec.layout((block,))


def test_every_code_survives_its_packing() -> None:
    generator = torch.Generator().manual_seed(1)

    def drawn(levels: Tensor, block: int) -> Tensor:
        """Blocks in which the outermost levels occur, so that the scale is 1."""
        picked = torch.randint(len(levels), (40, block), generator=generator)
        picked[:, 0], picked[:, 1] = len(levels) - 1, 0
        return levels[picked]

    grid = drawn(torch.tensor(nf3.LEVELS), 64)
    assert torch.equal(Nf3().decode(Nf3().encode(grid), grid.shape, torch.float32), grid)
    grid = drawn(torch.tensor([-1.5, -0.5, 0.5, 1.5]), 64)
    assert torch.equal(Seq2().decode(Seq2().encode(grid), grid.shape, torch.float32), grid)
    grid = drawn(torch.tensor([-1.0, 0.0, 1.0]), 128)
    assert torch.equal(Ternary().decode(Ternary().encode(grid), grid.shape, torch.float32), grid)


def test_two_bits_know_no_zero() -> None:
    back = Seq2().decode(Seq2().encode(_normal(64, 64)), (64, 64), torch.float32)
    assert back.all()
    assert {len(block.abs().unique()) for block in back.view(-1, 64)} == {2}


def test_nf3_levels_are_nf4s_construction_with_half_as_many() -> None:
    assert nf3.LEVELS[0] == -1.0
    assert nf3.LEVELS[3] == 0.0
    assert nf3.LEVELS[-1] == 1.0
    assert list(nf3.LEVELS) == sorted(nf3.LEVELS)
    assert (
        pytest.approx([-1.0, -0.4786, -0.2171, 0.0, 0.1609, 0.3379, 0.5626, 1.0], abs=1e-4)
        == nf3.LEVELS
    )
