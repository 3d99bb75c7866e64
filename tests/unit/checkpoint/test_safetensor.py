"""Our safetensors bytes are those of the reference library, and lying headers are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoint.plain import commit_plain
from tests.unit.checkpoint.rig import same_tensor, save_step
from tests.unit.checkpoint.test_round_trip import every_kind
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import DamagedError, load
from trainer.checkpoint.safetensor import HeaderError, header_length, parse_header


def test_the_reference_library_reads_our_files(run_dir: Path, lease: Lease) -> None:
    tensors = every_kind()
    entry = save_step(run_dir, 1, lease, files={"model": tensors})
    theirs = safetensors.torch.load_file(entry.path / "model.safetensors")
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_tensor(theirs[name], tensor), name


def test_we_read_the_reference_librarys_files(run_dir: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in every_kind().items()}
    file = safetensors.torch.save(tensors, metadata={"made": "elsewhere"})
    entry = commit_plain(run_dir, 1, files={"model.safetensors": file})
    ours = load(entry).files["model"]
    assert ours.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_tensor(ours[name], tensor), name


def test_a_dtype_that_we_do_not_know_is_named(run_dir: Path) -> None:
    file = safetensors.torch.save({"w": torch.zeros(2).to(torch.float8_e4m3fn)})
    entry = commit_plain(run_dir, 1, files={"model.safetensors": file})
    with pytest.raises(
        DamagedError, match=r"model\.safetensors.*'w' has the unknown dtype 'F8_E4M3'"
    ):
        load(entry)


def item(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


TRICKS = [
    ({"a": item(0, 4), "b": item(2, 8)}, "overlaps"),
    ({"a": item(0, 8), "b": item(0, 8)}, "overlaps"),
    ({"a": item(0, 3), "b": item(5, 8)}, "gap"),
    ({"a": item(4, 8)}, "gap"),
    ({"a": item(0, 4)}, "take 4 bytes"),
    ({"a": item(0, 800)}, "take 800 bytes"),
    ({"a": item(0, 8, [3])}, "needs 3 bytes"),
    ({"a": item(0, 8, [8], "F32")}, "needs 32 bytes"),
    ({"a": item(0, 8, [1 << 62, 1 << 62])}, "needs"),
    ({"a": item(8, 0, [8])}, "needs"),
    ({"a": item(-8, 0, [8])}, "counts"),
    ({"a": item(0, 8, [-8])}, "counts"),
    ({"a": item(0, 8, [True])}, "counts"),
    ({"a": {**item(0, 8), "data_offsets": [0]}}, "counts"),
    ({"a": {**item(0, 8), "shape": "8"}}, "counts"),
    ({"a": {**item(0, 8), "dtype": ["U8"]}}, "unknown dtype"),
    ({"a": {**item(0, 8), "extra": 1}}, "described"),
    ({"a": 8}, "described"),
    ([], "no table"),
    (7, "no table"),
]


@pytest.mark.parametrize(("header", "expected"), TRICKS)
def test_a_lying_header_is_refused_and_the_file_is_named(
    run_dir: Path, header: object, expected: str
) -> None:
    text = json.dumps(header).encode()
    file = len(text).to_bytes(8, "little") + text + bytes(8)
    entry = commit_plain(run_dir, 1, files={"model.safetensors": file})
    with pytest.raises(DamagedError, match=f"model.safetensors: .*{expected}"):
        load(entry)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"abc", "too short"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "announces a header of 9223372036854775808"),
        ((3).to_bytes(8, "little") + b"{}", "announces a header of 3 bytes in a file of 10"),
        ((2).to_bytes(8, "little") + b"{]", "not understood"),
        ((2).to_bytes(8, "little") + b"\xff\xfe", "not understood"),
        ((9).to_bytes(8, "little") + b'{"a":1,"a":2}'[:9], "not understood"),
        ((50_000).to_bytes(8, "little") + b"[" * 50_000, "not understood"),
        ((13).to_bytes(8, "little") + b'{"a":1,"a":2}', "twice"),
    ],
)
def test_a_broken_header_is_refused(run_dir: Path, file: bytes, expected: str) -> None:
    entry = commit_plain(run_dir, 1, files={"model.safetensors": file})
    with pytest.raises(DamagedError, match=expected):
        load(entry)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_make_the_header_reader_fail_in_another_way(data: bytes, size: int) -> None:
    try:
        length = header_length(data[:8], size)
        spans = parse_header(data[8 : 8 + length], size - 8 - length)
    except HeaderError:
        return
    assert sum(span.end - span.begin for span in spans) == size - 8 - length
