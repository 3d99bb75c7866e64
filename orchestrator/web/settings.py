"""What the web side must know beside its backend: its names and its token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import WebConfig
from orchestrator.errors import Misconfigured


@dataclass(frozen=True)
class Settings:
    """``token`` empty means: no token is asked for, which only a loopback host may have."""

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    token: str = ""


def settings_of(config: WebConfig) -> Settings:
    """The settings of a configuration; reads the token file.

    Raises:
        Misconfigured: the token file cannot be read or holds no token.
    """
    token = _read_token(Path(config.token_file)) if config.token_file else ""
    return Settings(config.host, tuple(config.allowed_hosts), token)


def _read_token(path: Path) -> str:
    fix = "write a long random word into it (mode 0600), or unset web.token_file"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"web.token_file {path} cannot be read: {error}", fix) from None
    if not token or not token.isascii() or any(sign.isspace() for sign in token):
        raise Misconfigured(f"web.token_file {path} does not hold one plain ASCII word", fix)
    return token
