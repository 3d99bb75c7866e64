"""The format on disk: the names of checkpoint directories and the self-checksummed manifest.

``RUN_DIR/checkpoints/`` holds directories ``KIND-STEP-ATTEMPT-HEX``:

gen      a generation: committed, whole
tmp      being written, or left over from a writer that died
trash    being deleted
damaged  set aside because something in it is wrong; never deleted by us
undone   whole, and set aside by a rollback: the run went another way from an earlier one

A generation holds ``*.safetensors`` files and ``MANIFEST``: one line
``homerun-checkpoint 1 <bytes of the JSON> <xxh3_128 of the JSON>``, then the JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xxhash

MANIFEST = "MANIFEST"
SUFFIX = ".safetensors"
#: far above any real manifest; a larger one is damage
MANIFEST_LIMIT_BYTES = 256 << 20

#: what the operating system says when the bytes or names on the disk are wrong, as opposed to
#: a reader that lacks permission, handles or memory
DAMAGE_ERRNOS = frozenset(
    (
        errno.EBADMSG,
        errno.EFBIG,
        errno.EINVAL,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EUCLEAN,
    )
)

_KIND = "homerun-checkpoint"
_FORMAT = 1
_MAGIC = f"{_KIND} {_FORMAT}"
_NAME = re.compile(r"(gen|tmp|trash|damaged|undone)-(\d{8,18})-(\d{6,18})-([0-9a-f]{8})")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHECKSUM = re.compile(r"[0-9a-f]{32}")


class DamagedError(Exception):
    """A checkpoint that must not be used; ``problems`` name each file and what is wrong."""

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        self.name = name
        self.problems = problems
        super().__init__(f"checkpoint {name} is damaged: {'; '.join(problems)}")


class ManifestError(ValueError):
    """Bytes that are no manifest of ours, or a damaged one."""


class OtherFormatError(OSError):
    """A whole manifest that only another homerun understands: nothing is wrong with the disk."""

    def __init__(self, found: int) -> None:
        super().__init__(
            errno.ENOTSUP,
            f"it is of format {found}, which another version of homerun wrote; this one reads "
            f"format {_FORMAT}: install that version again, or move the checkpoint away",
        )


@dataclass(frozen=True)
class Name:
    """The name of a directory in ``checkpoints/``. ``unique`` keeps equal steps apart."""

    kind: str
    step: int
    attempt: int
    unique: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.step:08d}-{self.attempt:06d}-{self.unique}"

    def as_kind(self, kind: str) -> Name:
        """The same checkpoint in another condition."""
        return dataclasses.replace(self, kind=kind)

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts oldest first: by step, then attempt."""
        return self.step, self.attempt, self.unique


def parse_name(text: str) -> Name | None:
    """The parts of a directory's name, or None when it is none of ours."""
    match = _NAME.fullmatch(text)
    if not match:
        return None
    return Name(match[1], int(match[2]), int(match[3]), match[4])


@dataclass(frozen=True)
class FileRecord:
    """What a data file must be."""

    size_bytes: int
    #: hexadecimal
    xxh3_128: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is, and the checksum of every byte in it."""

    run: str
    #: finished optimizer steps
    step: int
    attempt: int
    created: datetime
    #: schedule, request, stop, finish, eval, final
    reason: str
    #: the checkpoint this attempt resumed from
    parent: str | None
    spec_digest: str
    files: dict[str, FileRecord] = field(default_factory=dict)
    #: the loop's own state as plain JSON types
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of all data files."""
        return sum(record.size_bytes for record in self.files.values())


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of the MANIFEST file.

    Raises:
        TypeError: ``meta`` holds something that JSON does not know.
    """
    plain = {item.name: getattr(manifest, item.name) for item in dataclasses.fields(manifest)}
    plain["created"] = manifest.created.astimezone(UTC).isoformat()
    plain["files"] = {
        name: {"bytes": record.size_bytes, "xxh3_128": record.xxh3_128}
        for name, record in sorted(manifest.files.items())
    }
    body = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    return f"{_MAGIC} {len(body)} {xxhash.xxh3_128_hexdigest(body)}\n".encode() + body


def decode_manifest(data: bytes) -> Manifest:
    """Read back what ``encode_manifest`` wrote.

    Raises:
        ManifestError: with what is wrong.
        OtherFormatError: nothing is, but another homerun wrote it.
    """
    if not data:
        raise ManifestError("is empty")
    head, newline, body = data.partition(b"\n")
    words = head.decode("ascii", "replace").rsplit(" ", 2)
    if not newline or len(words) != 3 or words[0] != _MAGIC or not words[1].isdecimal():
        _refuse_other_format(words, body)
        raise ManifestError("does not begin as a manifest does")
    if int(words[1]) != len(body):
        raise ManifestError(f"has {len(body)} bytes of JSON, its first line says {words[1]}")
    if xxhash.xxh3_128_hexdigest(body) != words[2]:
        raise ManifestError("its checksum does not match")
    try:
        return _from_plain(json.loads(body))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestError(f"its JSON is not understood: {error!r}") from None


def _refuse_other_format(words: list[str], body: bytes) -> None:
    """A later format keeps the first line, and repeats its number in the JSON as ``format``.

    One flipped bit in the first line of ours can therefore not pass for a later one.
    """
    kind, _, number = words[0].partition(" ")
    if len(words) != 3 or kind != _KIND or not number.isdecimal():
        return
    if xxhash.xxh3_128_hexdigest(body) != words[2]:
        return
    with contextlib.suppress(ValueError, RecursionError):
        plain = json.loads(body)
        if isinstance(plain, dict) and plain.get("format") == int(number) != _FORMAT:
            raise OtherFormatError(int(number))


def read_manifest(data: bytes, directory: Path) -> Manifest:
    """The manifest of the checkpoint in ``directory``, checked against the directory's name.

    Raises:
        ManifestError, OtherFormatError: as ``decode_manifest``.
    """
    manifest = decode_manifest(data)
    name = parse_name(directory.name)
    if name and (manifest.step, manifest.attempt) != (name.step, name.attempt):
        said = f"step {manifest.step} of attempt {manifest.attempt}"
        raise ManifestError(f"belongs to another checkpoint: {said}")
    return manifest


def _from_plain(plain: dict[str, Any]) -> Manifest:
    parent = plain["parent"]
    return Manifest(
        run=_text(plain["run"]),
        step=_count(plain["step"]),
        attempt=_count(plain["attempt"]),
        created=datetime.fromisoformat(plain["created"]),
        reason=_text(plain["reason"]),
        parent=None if parent is None else _text(parent),
        spec_digest=_text(plain["spec_digest"]),
        files={check_file_name(name): _record(item) for name, item in plain["files"].items()},
        meta=dict(plain["meta"]),
    )


def _record(plain: dict[str, Any]) -> FileRecord:
    checksum = _text(plain["xxh3_128"])
    if not _CHECKSUM.fullmatch(checksum):
        raise ValueError(f"no checksum: {checksum!r}")
    return FileRecord(_count(plain["bytes"]), checksum)


def check_file_name(name: str) -> str:
    """``name``, if it can only ever be a data file inside its directory; ValueError if not."""
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"no name for a data file: {name!r}")
    return name


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"not a count: {value!r}")
    return value
