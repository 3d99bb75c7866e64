"""What the web side must know beside its backend: its names and its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import token_file
from orchestrator.settings.web_config import WebConfig


@dataclass(frozen=True)
class Settings:
    """``token`` empty means: no token is asked for, which only a loopback host may have.

    ``metrics_token`` opens /metrics and nothing else.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    metrics_token: str = field(default="", repr=False)
    #: how long the body of an order may take to come
    body_seconds: float = 20.0


def settings_of(config: WebConfig) -> Settings:
    """The settings of a configuration; reads the token files, and makes those that are missing.

    Raises:
        Misconfigured: a token file can neither be read nor made, or holds no token.
    """
    return Settings(
        config.host,
        tuple(config.allowed_hosts),
        _token(config.token_file, "web.token_file"),
        _token(config.metrics_token_file, "web.metrics_token_file"),
    )


def _token(file: str, key: str) -> str:
    return token_file.read_or_create(Path(file), key) if file else ""
