"""A token and the file it stands in. Standard library only: the command line reads it too."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from orchestrator.errors import Misconfigured


def read_or_create(path: Path, key: str) -> str:
    """The token in ``path``; a new random one, readable by us alone, where no file is.

    ``key`` is the configuration's name for it, for the errors.

    Raises:
        Misconfigured: the file can neither be read nor made, or holds no plain word.
    """
    if not path.exists():
        _create(path, key)
    return read(path, key)


def read(path: Path, key: str) -> str:
    """The token in ``path``; raises Misconfigured as ``read_or_create`` does."""
    fix = f"write a long random word into it (mode 0600), or unset {key}"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{key} {path} cannot be read: {_why(error)}", fix) from None
    if not token or not token.isascii() or any(sign.isspace() for sign in token):
        raise Misconfigured(f"{key} {path} does not hold one plain ASCII word", fix)
    return token


def _create(path: Path, key: str) -> None:
    """All of it at once: a power cut leaves no empty file, and an older one is never replaced."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{secrets.token_urlsafe(32)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(beside, path)
        except FileExistsError:
            return  # somebody else was faster; theirs counts
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"{key} {path} is not there and cannot be made: {_why(error)}",
            f"make its directory writable for the daemon, or point {key} elsewhere",
        ) from None


def _why(error: Exception) -> str:
    # A text that is no UTF-8 stands in its error, byte by byte: that may be the token.
    return error.strerror or "failed" if isinstance(error, OSError) else "it is no text"
