"""TOML with errors that name the file, the line, the key and the nearest right key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = Sequence[str | int]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.\-\"']+)\s*=")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file. ``line`` is 1-based; 0 when no line can be named."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class InvalidFileError(Exception):
    """A file that cannot be used, with every problem found in it, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The parsed file and its text.

    Raises:
        InvalidFileError: it is missing, unreadable, not UTF-8, or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidFileError([Problem(str(path), 0, "", "no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFileError([Problem(str(path), 0, "", f"cannot be read: {error}")]) from None
    return parse(text, str(path)), text


def parse(text: str, file: str) -> dict[str, Any]:
    """The parsed text; raises InvalidFileError with the line of a syntax error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column \d+\)", str(error))
        message = re.sub(r" \(at .*\)$", "", str(error))
        # without a place it is the end of the document
        line = int(where.group(1)) if where else max(1, len(text.splitlines()))
        raise InvalidFileError([Problem(file, line, "", f"not TOML: {message}")]) from None
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
        raise InvalidFileError([Problem(file, 0, "", f"not TOML: {error}")]) from None


def line_of(text: str, key: Key) -> int:
    """The 1-based line where ``key`` stands, or that of the nearest enclosing table, or 0.

    An integer in the key selects the n-th ``[[table]]`` of that name.
    """
    wanted = [part for part in key if not isinstance(part, int)]
    indices = [part for part in key if isinstance(part, int)]
    wanted_index = indices[0] if indices else 0
    table: list[str] = []
    seen: dict[str, int] = {}
    best_line, best_depth = 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            table = _parts(header.group(2))
            if header.group(1) == "[[":
                name = ".".join(table)
                seen[name] = seen.get(name, -1) + 1
                if seen[name] != wanted_index:
                    table = ["\0"]
            path = table
        else:
            assignment = _ASSIGNMENT.match(line)
            if not assignment:
                continue
            path = table + _parts(assignment.group(1))
        depth = len(path)
        if path == wanted[:depth] and depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def nearest(wrong: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the nearest known word, or an empty string."""
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def unknown_key(wrong: str, known: Iterable[str]) -> str:
    """The message for a key that nobody reads."""
    names = sorted(known)
    return "unknown key; " + (nearest(wrong, names) or f"known here: {', '.join(names)}")


def dotted(key: Key) -> str:
    """``('tariff', 'zones', 0, 'price')`` as ``tariff.zones[0].price``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _parts(dotted_name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted_name.split(".")]
