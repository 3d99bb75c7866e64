"""The trainer's log: its last lines, and the lines that are being written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 64 * 1024
#: a tail never reads further back, whatever the lines' length
MAX_TAIL_BYTES = 4 << 20
#: a longer line is cut in pieces
MAX_LINE_BYTES = 64 * 1024


def tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of a file, the unfinished one included; none when it is missing."""
    try:
        with path.open("rb") as file:
            raw = _last_bytes(file, lines)
    except FileNotFoundError:
        return []
    return _split(raw)[-lines:]


class Follower:
    """Reads what is appended to a file, through truncation and rotation.

    ``where`` is asked again before each look, so that the file may be another one later.
    Unfinished lines wait for their end. Not thread-safe.
    """

    def __init__(self, where: Callable[[], Path]) -> None:
        self._where = where
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._rest = b""

    def start(self, lines: int) -> list[str]:
        """Open the file; its last ``lines`` lines, from where reading goes on."""
        self._open(self._where())
        if self._file is None:
            return []
        raw = _last_bytes(self._file, lines + 1)
        self._file.seek(0, os.SEEK_END)
        whole, _, self._rest = raw.rpartition(b"\n")
        return _split(whole)[-lines:] if lines else []

    def read(self) -> list[str]:
        """The lines that were finished since the last look; at most a few megabytes of them."""
        path = self._where()
        if self._file is None or path != self._path:
            return self._finish_old() + self._read_new(path)
        found = self._drain()
        if found:
            return found
        if self._was_replaced(path):
            # Something may have been written to the old file since we looked.
            return self._finish_old() + self._read_new(path)
        if self._was_truncated():
            self._file.seek(0)
            self._rest = b""
            return self._drain()
        return []

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, path: Path) -> None:
        self.close()
        self._path, self._rest = path, b""
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            self._file = None

    def _read_new(self, path: Path) -> list[str]:
        self._open(path)
        return self._drain()

    def _finish_old(self) -> list[str]:
        found = self._drain()
        found += _split(self._rest)
        self._rest = b""
        self.close()
        return found

    def _drain(self) -> list[str]:
        if self._file is None:
            return []
        raw = self._rest + self._file.read(MAX_TAIL_BYTES)
        whole, newline, self._rest = raw.rpartition(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            whole, newline, self._rest = raw, b"\n", b""
        return _split(whole) if newline else []

    def _was_replaced(self, path: Path) -> bool:
        assert self._file is not None, "read() has looked"
        try:
            now = path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(os.fstat(self._file.fileno()), now)

    def _was_truncated(self) -> bool:
        assert self._file is not None, "read() has looked"
        return os.fstat(self._file.fileno()).st_size < self._file.tell()


def _last_bytes(file: BinaryIO, lines: int) -> bytes:
    """The end of a file from the start of its ``lines``-th last line, at least."""
    end = file.seek(0, os.SEEK_END)
    start, raw = end, b""
    while start > 0 and raw.count(b"\n") <= lines and end - start < MAX_TAIL_BYTES:
        block = min(_BLOCK_BYTES, start)
        start -= block
        file.seek(start)
        raw = file.read(block) + raw
    return raw


def _split(raw: bytes) -> list[str]:
    """Lines as text. A progress bar's carriage returns end a line too."""
    if not raw:
        return []
    text = raw.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n")
    return [
        line[start : start + MAX_LINE_BYTES]
        for line in lines
        for start in range(0, max(1, len(line)), MAX_LINE_BYTES)
    ]
