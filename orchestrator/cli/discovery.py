"""Where the daemon answers, found by reading as little as possible.

Order: --url, $HOMERUN_URL, STATE_DIR/daemon.json, the configured host and port.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator import places
from orchestrator.errors import HomerunError, Misconfigured
from orchestrator.paths import Paths
from trainer.contract import toml

_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and with which token."""

    url: str
    token: str
    #: how it was found: --url, $HOMERUN_URL, a file
    origin: str


@dataclass(frozen=True)
class Settings:
    """The few keys of the configuration that a client needs. Not checked beyond their types."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 8420
    token_file: Path | None = None


def find(url: str | None, config: Path | None, env: Mapping[str, str]) -> Endpoint:
    """The daemon's endpoint.

    Raises:
        Misconfigured: the configuration file is needed and is missing or no TOML.
    """
    given = url or env.get("HOMERUN_URL", "")
    if given:
        origin = "--url" if url else "$HOMERUN_URL"
        return Endpoint(given.rstrip("/"), _token_for(given, config, env), origin)
    settings = read_settings(config, env)
    found = Paths(settings.state_dir).address
    address = _address_in(found)
    origin = str(found) if address else "the configuration"
    address = address or f"http://{_client_host(settings.host)}:{settings.port}"
    return Endpoint(address, env.get("HOMERUN_TOKEN") or _read(settings.token_file), origin)


def read_settings(config: Path | None, env: Mapping[str, str]) -> Settings:
    """What the configuration says of the state directory, the address and the token."""
    file = places.config_file(config, env)
    if file is None:
        return Settings(places.default_state_dir(env))
    try:
        plain, _ = toml.read(file)
    except toml.InvalidFileError as error:
        raise Misconfigured(str(error), "correct it, then ask: homerun config check") from None
    base = file.absolute().parent
    state_dir = _value(plain, "daemon", "state_dir", str)
    token_file = _value(plain, "web", "token_file", str)
    return Settings(
        places.resolve(state_dir, base) if state_dir else places.default_state_dir(env),
        _value(plain, "web", "host", str) or Settings.host,
        _value(plain, "web", "port", int) or Settings.port,
        places.resolve(token_file, base) if token_file else None,
    )


def _value(plain: dict[str, Any], table: str, key: str, kind: type) -> Any:
    section = plain.get(table)
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, kind) else None


def _address_in(file: Path) -> str:
    try:
        address = json.loads(file.read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(address).rstrip("/")


def _client_host(host: str) -> str:
    if host in ("0.0.0.0", ""):  # noqa: S104 - a wildcard is answered on loopback
        return "127.0.0.1"
    if host in ("::", "[::]"):
        return "[::1]"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _token_for(url: str, config: Path | None, env: Mapping[str, str]) -> str:
    """$HOMERUN_TOKEN goes anywhere; the configured token only to this machine or its host."""
    if env.get("HOMERUN_TOKEN"):
        return env["HOMERUN_TOKEN"]
    try:
        settings = read_settings(config, env)
    except HomerunError:
        return ""
    host = urlsplit(url).hostname or ""
    ours = host in (*_LOOPBACK, settings.host) or host.startswith("127.")
    return _read(settings.token_file) if ours else ""


def _read(file: Path | None) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError):
        return ""
