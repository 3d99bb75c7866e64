"""Tensors as safetensors bytes, streamed: nothing larger than one piece is ever held beside them.

The file format (github.com/huggingface/safetensors): eight bytes little-endian length of the
header, the header as JSON padded by spaces to a multiple of eight, then the tensors' raw
little-endian bytes without gaps. Tensors stand by falling element size and then by name, so that
each is aligned and the same tensors always make the same bytes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint.disk import CHUNK_BYTES

if sys.byteorder != "little":
    raise ImportError("checkpoints are written on little-endian machines only")

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_METADATA = "__metadata__"
#: bytes of JSON; the reference reader refuses longer headers too
HEADER_LIMIT_BYTES = 100_000_000


class HeaderError(ValueError):
    """A header that does not describe the bytes behind it."""


@dataclass(frozen=True)
class Span:
    """One tensor's place among the data: bytes ``begin`` to ``end``, counted after the header."""

    name: str
    #: a key of DTYPES
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def layout(tensors: Mapping[str, Tensor]) -> list[Span]:
    """Where each tensor goes.

    Raises:
        ValueError: a tensor that this format has no place for: its dtype, its memory layout, a
            reserved name.
    """
    for name, tensor in tensors.items():
        _demand_storable(name, tensor)
    spans = []
    begin = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        end = begin + tensor.numel() * tensor.itemsize
        spans.append(Span(name, _CODES[tensor.dtype], tuple(tensor.shape), begin, end))
        begin = end
    return spans


def encode_header(spans: list[Span]) -> bytes:
    """The length and the JSON that stand before the data."""
    plain: dict[str, Any] = {_METADATA: {"format": "pt"}}
    for span in spans:
        offsets = [span.begin, span.end]
        plain[span.name] = {"dtype": span.code, "shape": span.shape, "data_offsets": offsets}
    text = json.dumps(plain, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT_BYTES:
        raise ValueError(f"{len(spans)} tensors are too many for one file")
    return len(text).to_bytes(8, "little") + text


def size_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the file that ``chunks`` makes."""
    spans = layout(tensors)
    return len(encode_header(spans)) + (spans[-1].end if spans else 0)


def chunks(
    tensors: Mapping[str, Tensor],
    chunk_bytes: int = CHUNK_BYTES,
    fetch: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> Iterator[memoryview]:
    """The bytes of a safetensors file in pieces of at most ``chunk_bytes`` (and the header).

    CPU tensors are not copied, so they must not change meanwhile; others come to the host piece
    by piece, as ``fetch`` brings them: what it returned may be overwritten by the next.
    """
    spans = layout(tensors)
    yield memoryview(encode_header(spans))
    for span in spans:
        yield from _tensor_chunks(tensors[span.name], chunk_bytes, fetch)


def header_length(prefix: bytes, file_bytes: int) -> int:
    """Bytes of JSON that the first eight bytes of a file announce.

    Raises:
        HeaderError: more than there can be in a file of ``file_bytes``.
    """
    if len(prefix) < 8:
        raise HeaderError("is too short for a header")
    length = int.from_bytes(prefix, "little")
    if length > min(HEADER_LIMIT_BYTES, file_bytes - 8):
        raise HeaderError(f"announces a header of {length} bytes in a file of {file_bytes}")
    return length


def parse_header(text: bytes, data_bytes: int) -> list[Span]:
    """The tensors, in the order of their bytes, of a file with ``data_bytes`` after its header.

    Raises:
        HeaderError: it is not understood, or does not cover the data exactly, each byte once.
    """
    try:
        plain = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"its header is not understood: {error}") from None
    if not isinstance(plain, dict):
        raise HeaderError("its header is no table")
    plain.pop(_METADATA, None)
    spans = [_parse_span(name, item) for name, item in plain.items()]
    spans.sort(key=lambda span: (span.begin, span.end))
    end = 0
    for span in spans:
        if span.begin != end:
            kind = "overlaps the one before it" if span.begin < end else "leaves a gap before it"
            raise HeaderError(f"tensor {span.name!r} {kind}")
        end = span.end
    if end != data_bytes:
        raise HeaderError(f"its tensors take {end} bytes, behind its header are {data_bytes}")
    return spans


def empty(span: Span) -> Tensor:
    """A tensor in host memory for ``span``, its content undefined."""
    return torch.empty(span.shape, dtype=DTYPES[span.code])


def byte_view(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor in host memory, without a copy."""
    flat = tensor.detach().reshape(-1).view(torch.uint8)
    return flat.numpy().data


def _demand_storable(name: str, tensor: Tensor) -> None:
    if name == _METADATA:
        raise ValueError(f"no tensor may be called {name}")
    if tensor.dtype not in _CODES:
        raise ValueError(f"tensor {name!r} has a dtype that is not stored: {tensor.dtype}")
    if tensor.layout != torch.strided or tensor.is_meta:
        raise ValueError(f"tensor {name!r} is no plain dense tensor")


def _tensor_chunks(
    tensor: Tensor, chunk_bytes: int, fetch: Callable[[Tensor], Tensor]
) -> Iterator[memoryview]:
    flat = tensor.detach().contiguous().reshape(-1)
    count = max(1, chunk_bytes // flat.itemsize)
    for start in range(0, flat.numel(), count):
        yield byte_view(fetch(flat[start : start + count]))


def _parse_span(name: str, item: Any) -> Span:
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"tensor {name!r} is not described as it should be")
    code, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise HeaderError(f"tensor {name!r} has the unknown dtype {code!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise HeaderError(f"tensor {name!r} has a shape or offsets that are no counts")
    begin, end = offsets
    needed = math.prod(shape) * DTYPES[code].itemsize
    if end - begin != needed:
        raise HeaderError(f"tensor {name!r} needs {needed} bytes, its offsets span {end - begin}")
    return Span(name, code, tuple(shape), begin, end)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table
