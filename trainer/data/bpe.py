"""Training the tokenizer: feeds the process that learns the merges, and stays answerable."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from trainer.data.errors import DataError
from trainer.data.tokenizer import PATTERN, SPECIAL_TOKENS, Tokenizer, pieces
from trainer.data.watch import Watch

CHILD = Path(__file__).with_name("bpe_child.py")

#: pieces of text that rustbpe takes at a time; bounds its memory
_BUFFER_PIECES = 128


class Training:
    """One training of a tokenizer on the first ``characters`` characters of some texts.

    The result depends on the texts alone: not on threads, not on the process.
    """

    def __init__(self, texts: Iterable[str], vocab_size: int, characters: int) -> None:
        self._texts = texts
        self._vocab_size = vocab_size
        self._characters = characters
        #: characters taken so far
        self.taken = 0

    def run(self, watch: Watch, say: Callable[[int], None]) -> Tokenizer:
        """Train while ``watch`` reports; ``say`` is told the characters taken so far.

        Raises:
            DataError: there is too little text for so many tokens, or the process died.
        """
        # -P: the package's directory must not shadow modules of the standard library
        command = [sys.executable, "-P", str(CHILD)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            answer = watch.run(lambda: self._converse(child), lambda: say(self.taken))
        finally:
            # its pipes are closed by the thread that uses them, which sees them break
            child.kill()
            child.wait()
        if child.returncode:
            raise DataError(
                f"the process that trains the tokenizer died ({_words(child.returncode)})",
                "see the log; when memory ran out, lower data.tokenizer_characters",
            )
        tokens = [base64.b64decode(token) for token in json.loads(answer)]
        self._check_enough(len(tokens) + len(SPECIAL_TOKENS))
        return Tokenizer.of(tokens)

    def _converse(self, child: subprocess.Popen[bytes]) -> bytes:
        if child.stdin is None or child.stdout is None:
            raise ValueError("the child needs pipes")
        with child.stdout as answers:
            with suppress(BrokenPipeError), child.stdin as pipe:  # its exit code says more
                self._feed(pipe)
            answer = answers.read()
        child.wait()
        return answer

    def _feed(self, pipe: IO[bytes]) -> None:
        order = {
            "parent": os.getpid(),
            "tokens": self._vocab_size - len(SPECIAL_TOKENS),
            "pattern": PATTERN,
            "buffer_pieces": _BUFFER_PIECES,
        }
        pipe.write(json.dumps(order).encode() + b"\n")
        for piece in self._pieces():
            data = piece.encode()
            pipe.write(len(data).to_bytes(4, "little") + data)
        pipe.write(bytes(4))

    def _pieces(self) -> Iterator[str]:
        for text in self._texts:
            for piece in pieces(text):
                wanted = piece[: self._characters - self.taken]
                self.taken += len(wanted)
                yield wanted
                if self.taken >= self._characters:
                    return

    def _check_enough(self, found: int) -> None:
        if found < self._vocab_size:
            raise DataError(
                f"the corpus is too small for {self._vocab_size} tokens: the {self.taken} "
                f"characters to train the tokenizer on give {found}",
                f"set model.vocab_size to {found} or less, or add documents",
            )


def _words(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"
