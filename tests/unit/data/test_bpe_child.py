"""The process that learns the merges: it never outlives its parent, and never learns from half."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import psutil
import pytest

from trainer.data.bpe import CHILD
from trainer.data.tokenizer import PATTERN

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-P', sys.argv[1]])"


def order(parent: int) -> bytes:
    plain = {"parent": parent, "tokens": 257, "pattern": PATTERN, "buffer_pieces": 4}
    return json.dumps(plain).encode() + b"\n"


def piece(text: bytes) -> bytes:
    return len(text).to_bytes(4, "little") + text


def talk(said: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-P", str(CHILD)], input=said, capture_output=True, check=False, timeout=60
    )


def test_most_frequent_pair_becomes_a_token() -> None:
    done = talk(order(os.getpid()) + piece(b"abab") + piece(b"ab") + bytes(4))
    assert done.returncode == 0
    tokens = [base64.b64decode(token) for token in json.loads(done.stdout)]
    assert tokens == [*(bytes([byte]) for byte in range(256)), b"ab"]


@pytest.mark.parametrize("said", [b"", piece(b"abab"), piece(b"abab")[:-1], b"\x04\x00"])
def test_texts_that_end_too_early_teach_nothing(said: bytes) -> None:
    done = talk(order(os.getpid()) + said)
    assert (done.returncode, done.stdout) == (1, b"")


def test_child_of_another_parent_does_not_begin() -> None:
    done = talk(order(1) + piece(b"abab") + bytes(4))
    assert (done.returncode, done.stdout) == (1, b"")


def test_child_dies_with_its_parent_even_while_its_texts_stay_open() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(CHILD)], stdin=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        parent.stdin.write(order(parent.pid))
        parent.stdin.flush()
        process = psutil.Process(parent.pid)
        for _ in range(100):
            children = process.children()
            if children and rustbpe_is_loaded(children[0]):
                break
            psutil.wait_procs([process], timeout=0.1)
        (child,) = process.children()
        parent.kill()
        _, alive = psutil.wait_procs([child], timeout=10)
        for survivor in alive:
            survivor.kill()
        assert alive == []


def rustbpe_is_loaded(child: psutil.Process) -> bool:
    return any("rustbpe" in region.path for region in child.memory_maps())
