"""Names and manifests: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import dataclasses
import json

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoint.plain import manifest
from trainer.checkpoint.format import (
    FileRecord,
    Manifest,
    ManifestError,
    Name,
    decode_manifest,
    encode_manifest,
    parse_name,
)

RECORD = FileRecord(7, "0" * 32)


def full() -> Manifest:
    files = {"model.safetensors": RECORD, "optimizer.safetensors": FileRecord(0, "f" * 32)}
    return dataclasses.replace(manifest(12, 3, {"π": [1.5, None]}), files=files, parent="gen-x")


def reworked(**changes: object) -> bytes:
    """A manifest with a right checksum but other content."""
    plain = json.loads(encode_manifest(full()).split(b"\n", 1)[1])
    body = json.dumps({**plain, **changes}).encode()
    return f"homerun-checkpoint 1 {len(body)} {xxhash.xxh3_128_hexdigest(body)}\n".encode() + body


def test_a_manifest_comes_back_as_it_was() -> None:
    assert decode_manifest(encode_manifest(full())) == full()


def test_any_single_changed_byte_is_noticed() -> None:
    good = encode_manifest(full())
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x20
        with pytest.raises(ManifestError):
            decode_manifest(bytes(bad))


def test_any_truncation_is_noticed() -> None:
    good = encode_manifest(full())
    for length in range(len(good)):
        with pytest.raises(ManifestError):
            decode_manifest(good[:length])
    with pytest.raises(ManifestError):
        decode_manifest(good + b"\n")


@given(st.binary(max_size=100))
def test_no_bytes_make_the_reader_fail_in_another_way(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1},
        {"step": 1.5},
        {"step": True},
        {"attempt": "3"},
        {"run": None},
        {"parent": 5},
        {"created": "yesterday"},
        {"created": 5},
        {"files": []},
        {"files": {"../../etc/passwd": {"bytes": 1, "xxh3_128": "0" * 32}}},
        {"files": {"MANIFEST": {"bytes": 1, "xxh3_128": "0" * 32}}},
        {"files": {"a": {"bytes": -1, "xxh3_128": "0" * 32}}},
        {"files": {"a": {"bytes": 1, "xxh3_128": "zz"}}},
        {"files": {"a": {"bytes": 1}}},
        {"files": {"a": 5}},
        {"meta": 5},
    ],
)
def test_a_sound_checksum_over_nonsense_is_refused(changes: dict[str, object]) -> None:
    assert decode_manifest(reworked()) == full()
    with pytest.raises(ManifestError, match="not understood"):
        decode_manifest(reworked(**changes))


def test_names_are_read_back_and_sort_by_age() -> None:
    name = Name("gen", 123, 4, "0badcafe")
    assert str(name) == "gen-00000123-000004-0badcafe"
    assert parse_name(str(name)) == name
    assert str(name.as_kind("trash")) == "trash-00000123-000004-0badcafe"
    assert Name("gen", 123_456_789, 1, "0badcafe").age > Name("gen", 99_999_999, 9, "0badcafe").age
    assert parse_name(str(Name("gen", 123_456_789, 1, "0badcafe"))) is not None


@pytest.mark.parametrize(
    "text",
    ["", "gen-1-2-3", "gen-00000123-000004-0badcafe\n", "old-00000123-000004-0badcafe", "fence"],
)
def test_other_names_are_none_of_ours(text: str) -> None:
    assert parse_name(text) is None
