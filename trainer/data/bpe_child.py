"""The process that learns the merges. Run by path, so that it imports neither torch nor us.

A process of its own, because rustbpe keeps the interpreter lock while it learns: in the trainer
nobody would answer commands for minutes. And it can be killed, and its memory comes back.

stdin:  a JSON line {"parent", "tokens", "pattern", "buffer_pieces"}, then pieces of text, each with
        its length in bytes (4 bytes, little-endian) before it, then a length of zero
stdout: a JSON list of all tokens in order of rank, each in base64
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import rustbpe

_PR_SET_PDEATHSIG = 1


class _TornError(Exception):
    """The texts ended before their end was announced."""


def main() -> int:
    """Learn from stdin to stdout; exit code 1 when the parent is gone or the texts are torn."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        return 1
    trainer = rustbpe.Tokenizer()
    try:
        trainer.train_from_iterator(
            _pieces(sys.stdin.buffer),
            order["tokens"],
            buffer_size=order["buffer_pieces"],
            pattern=order["pattern"],
        )
    except _TornError:
        return 1
    ranks = sorted(trainer.get_mergeable_ranks(), key=lambda entry: entry[1])
    json.dump([base64.b64encode(bytes(token)).decode() for token, _ in ranks], sys.stdout)
    return 0


def _pieces(texts: BinaryIO) -> Iterator[str]:
    while length := int.from_bytes(_exactly(texts, 4), "little"):
        yield _exactly(texts, length).decode()


def _exactly(texts: BinaryIO, length: int) -> bytes:
    data = texts.read(length)
    if len(data) != length:
        raise _TornError
    return data


if __name__ == "__main__":
    sys.exit(main())
