"""Stochastic rounding by a counter-based stream, and the 24-bit master it can leave behind.

A number is rounded up with the probability that its remainder says, so that the mean of many
small updates survives where rounding to the nearest would swallow each of them (arXiv
2502.20566). The random bits are a pure function of (run, step, tensor, element): nothing of
them is in a checkpoint, and neither device nor the size of a chunk changes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

#: elements rounded at a time, so that temporaries stay in a CPU's cache or small on a GPU
_CHUNK_CPU = 1 << 18
_CHUNK_GPU = 1 << 24

#: the finaliser "lowbias32" found by Chris Wellons' hash prospector (github.com/skeeto/
#: hash-prospector): alternately x ^= x >> shift and x *= factor, modulo 2^32
_SHIFTS = (16, 15, 16)
_FACTORS = (0x7FEB352D, 0x846CA68B)

Key = tuple[int, int]


def stream_key(seed: int, step: int, name: str) -> Key:
    """The 64 bits that select the stream of one tensor in one step, as two signed words."""
    digest = hashlib.sha256(f"{seed}/{step}/{name}".encode()).digest()
    return (
        int.from_bytes(digest[:4], "little", signed=True),
        int.from_bytes(digest[4:8], "little", signed=True),
    )


def random_words(key: Key, first: int, count: int, device: torch.device) -> Tensor:
    """32 random bits for each of ``count`` elements from ``first`` on [count] int32.

    Products and sums wrap modulo 2^32 in int32, on CPU and CUDA alike.
    """
    words = torch.arange(first, first + count, dtype=torch.int32, device=device)
    _mix(words.bitwise_xor_(key[0]))
    return _mix(words.add_(key[1]))


def round_to_bf16(values: Tensor, key: Key, first: int, out: Tensor) -> None:
    """Round float32 ``values`` into bf16 ``out``, both contiguous and of one shape.

    ``first`` is the index of their first element in the whole tensor.
    """
    source, target = values.view(-1), out.view(-1)
    for part in _parts(source):
        noise = _noise(key, first, part, 16, source.device)
        bits = noise.add_(source[part].view(torch.int32)).bitwise_right_shift_(16)
        target[part] = _as_bf16(bits)


def split_to_24_bits(values: Tensor, key: Key, first: int, out: Tensor, residual: Tensor) -> None:
    """Round float32 ``values`` to 24 bits: bf16 ``out``, the nearest, and int8 ``residual``.

    The residual counts 2^-8 units of the bf16's last place, from -128 to 127. All three tensors
    are contiguous and of one shape.
    """
    source, target, rest = values.view(-1), out.view(-1), residual.view(-1)
    for part in _parts(source):
        noise = _noise(key, first, part, 8, source.device)
        bits = noise.add_(source[part].view(torch.int32)).bitwise_right_shift_(8)
        nearest = (bits + 128).bitwise_right_shift_(8)
        target[part] = _as_bf16(nearest)
        rest[part] = bits.sub_(nearest.bitwise_left_shift_(8))


def join_24_bits(weights: Tensor, residual: Tensor) -> Tensor:
    """The float32 numbers that ``split_to_24_bits`` left in bf16 and int8, a new tensor."""
    joined = torch.empty(weights.shape, dtype=torch.float32, device=weights.device)
    source, rest, target = weights.view(-1), residual.view(-1), joined.view(-1)
    for part in _parts(source):
        bits = source[part].view(torch.int16).int().bitwise_left_shift_(8)
        target[part] = bits.add_(rest[part]).bitwise_left_shift_(8).view(torch.float32)
    return joined


def _noise(key: Key, first: int, part: slice, bits: int, device: torch.device) -> Tensor:
    """``bits`` random bits for each element of ``part``, counted from ``first``."""
    words = random_words(key, first + part.start, part.stop - part.start, device)
    return _shifted(words, 32 - bits)


def _mix(words: Tensor) -> Tensor:
    for position, shift in enumerate(_SHIFTS):
        words.bitwise_xor_(_shifted(words, shift))
        if position < len(_FACTORS):
            words.mul_(_signed(_FACTORS[position]))
    return words


def _shifted(words: Tensor, shift: int) -> Tensor:
    """A logical shift: what an arithmetic one drags in from the sign is cleared."""
    return words.bitwise_right_shift(shift).bitwise_and_((1 << (32 - shift)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _as_bf16(high_halves: Tensor) -> Tensor:
    return high_halves.to(torch.int16).view(torch.bfloat16)


def _parts(flat: Tensor) -> Iterator[slice]:
    size = _CHUNK_CPU if flat.device.type == "cpu" else _CHUNK_GPU
    for start in range(0, flat.numel(), size):
        yield slice(start, min(flat.numel(), start + size))
