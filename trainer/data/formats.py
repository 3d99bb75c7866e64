"""Readers: the documents of one file, whatever its format. They stream where the format can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trainer.data.errors import DataError

#: the least that a piece of a Python module has, but for the last one
PYTHON_PIECE_CHARACTERS = 1500
#: a definition at the margin, with its decorators
_DEFINITION = re.compile(r"^(?:@.*\n)*(?:async def|def|class)\b", re.MULTILINE)
#: documents read at a time from a parquet file
PARQUET_ROWS = 256


class Document(NamedTuple):
    """A text and how many bytes of its file were read up to its end."""

    text: str
    position: int
    #: whether its corpus says that it is for validation; None when its hash decides
    validation: bool | None = None


def read_text(path: Path) -> Iterator[Document]:
    """The whole file as one document; raises DataError with the line that is not UTF-8."""
    raw = path.read_bytes()
    yield Document(decode(raw, str(path)), len(raw))


def decode(raw: bytes, name: str) -> str:
    """UTF-8 as text; raises DataError with the line that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}:{line}: is not UTF-8 (byte 0x{raw[error.start]:02x})",
            "convert the file to UTF-8 or take it out of the corpus",
        ) from None


def read_python(path: Path) -> Iterator[Document]:
    """A module in pieces, each some top-level definitions; nothing when it is not UTF-8.

    Whole modules would fill batch after batch with one file, and the loss would follow the file
    rather than the learning. A few files of the standard library are in other encodings on
    purpose: they test decoders.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return
    position = len(raw) - len(text.encode())
    for piece in _definitions(text):
        position += len(piece.encode())
        yield Document(piece, position)


def _definitions(text: str) -> Iterator[str]:
    """Cut before a top-level definition once a piece is long enough; loses no character."""
    begin = 0
    for match in _DEFINITION.finditer(text):
        if match.start() - begin >= PYTHON_PIECE_CHARACTERS:
            yield text[begin : match.start()]
            begin = match.start()
    yield text[begin:]


def read_jsonl(path: Path) -> Iterator[Document]:
    """One document a line, its ``text``; blank lines are passed over."""
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                yield Document(_text_of(line, f"{path}:{number}"), position)


def _text_of(line: bytes, place: str) -> str:
    fix = 'write one object a line: {"text": "..."}, in UTF-8'
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not JSON: {error}", fix) from None
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise DataError(f"{place}: has no text", fix)
    return _without_lone_surrogates(text)


def _without_lone_surrogates(text: str) -> str:
    """JSON can spell halves of characters that UTF-8 cannot hold; they become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def read_parquet(path: Path) -> Iterator[Document]:
    """The rows of the column ``text``, a document each."""
    import pyarrow  # takes a third of a second to import, and most corpora do not need it

    try:
        yield from _parquet_rows(path)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: is damaged or no parquet file: {first_line}",
            "fetch the file again or take it out of the corpus",
        ) from None


def _parquet_rows(path: Path) -> Iterator[Document]:
    from pyarrow import parquet

    size_bytes = path.stat().st_size
    with parquet.ParquetFile(path) as file:
        _check_text_column(file, path)
        row, rows = 0, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(PARQUET_ROWS, columns=["text"], use_threads=False):
            for text in batch.column(0).to_pylist():
                row += 1
                if text is None:
                    raise DataError(
                        f"{path}: row {row}: has no text", "take rows without text out of the file"
                    )
                yield Document(text, size_bytes * row // rows)


def _check_text_column(file: Any, path: Path) -> None:
    from pyarrow import types

    schema = file.schema_arrow
    if "text" not in schema.names:
        columns = ", ".join(schema.names)
        raise DataError(
            f"{path}: has no column 'text' (columns: {columns})", "name the column of texts 'text'"
        )
    kind = schema.field("text").type
    if not (types.is_string(kind) or types.is_large_string(kind)):
        raise DataError(f"{path}: the column 'text' is {kind}", "store the texts as strings")


Reader = Callable[[Path], Iterator[Document]]

#: what a corpus directory may hold, by the ending of the name
READERS: dict[str, Reader] = {".txt": read_text, ".jsonl": read_jsonl, ".parquet": read_parquet}
