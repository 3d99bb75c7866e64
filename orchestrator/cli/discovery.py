"""Where the daemon answers, found by reading as little as possible.

Order: --url, $HOMERUN_URL, STATE_DIR/daemon.json, the configured host and port.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator import places, token_file
from orchestrator.errors import HomerunError, Misconfigured
from orchestrator.paths import Paths
from trainer.contract import toml

_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Trust:
    """What a certificate is checked against."""

    #: PEM file; None for the authorities that the machine trusts
    file: Path | None = None
    #: it is the daemon's own certificate, so whom it names does not matter
    pinned: bool = False


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and with which token."""

    url: str
    token: str
    #: how it was found: --url, $HOMERUN_URL, a file
    origin: str
    trust: Trust = field(default_factory=Trust)


@dataclass(frozen=True)
class Settings:
    """The few keys of the configuration that a client needs. Not checked beyond their types."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 8420
    token_file: Path | None = None
    certificate_file: Path | None = None


def find(url: str | None, config: Path | None, env: Mapping[str, str]) -> Endpoint:
    """The daemon's endpoint.

    Raises:
        Misconfigured: the configuration file is needed and is missing or no TOML.
    """
    given = url or env.get("HOMERUN_URL", "")
    if given:
        settings = _settings_or_none(config, env)
        origin = "--url" if url else "$HOMERUN_URL"
        ours = settings is not None and _is_here(given, settings)
        token = _token(env) or (_read(settings.token_file) if settings and ours else "")
        return Endpoint(given.rstrip("/"), token, origin, _trust(env, settings if ours else None))
    settings = read_settings(config, env)
    found = Paths(settings.state_dir).address
    address = _address_in(found)
    origin = str(found) if address else "the configuration"
    scheme = "https" if settings.certificate_file else "http"
    address = address or f"{scheme}://{_client_host(settings.host)}:{settings.port}"
    token = _token(env) or _read(settings.token_file)
    return Endpoint(address, token, origin, _trust(env, settings))


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
    token = _value(plain, "web", "token_file", str)
    certificate = _value(plain, "web", "tls_certificate_file", str)
    return Settings(
        places.resolve(state_dir, base) if state_dir else places.default_state_dir(env),
        _value(plain, "web", "host", str) or Settings.host,
        _value(plain, "web", "port", int) or Settings.port,
        places.resolve(token, base) if token else None,
        places.resolve(certificate, base) if certificate else None,
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


def _is_here(url: str, settings: Settings) -> bool:
    """Whether it is this machine or its host, which may see what the configuration names."""
    host = urlsplit(url).hostname or ""
    return host in (*_LOOPBACK, settings.host) or host.startswith("127.")


def _settings_or_none(config: Path | None, env: Mapping[str, str]) -> Settings | None:
    try:
        return read_settings(config, env)
    except HomerunError:
        return None


def _token(env: Mapping[str, str]) -> str:
    """What the environment says goes to any daemon.

    Raises:
        Misconfigured: $HOMERUN_TOKEN_FILE names what cannot be read.
    """
    if env.get("HOMERUN_TOKEN"):
        return env["HOMERUN_TOKEN"]
    file = env.get("HOMERUN_TOKEN_FILE")
    return token_file.read(Path(file).expanduser(), "$HOMERUN_TOKEN_FILE") if file else ""


def _trust(env: Mapping[str, str], settings: Settings | None) -> Trust:
    """$HOMERUN_CA_FILE counts; else our own daemon is known by its own certificate."""
    if env.get("HOMERUN_CA_FILE"):
        return Trust(Path(env["HOMERUN_CA_FILE"]).expanduser())
    own = settings.certificate_file if settings else None
    return Trust(own, pinned=True) if own and _is_readable(own) else Trust()


def _is_readable(file: Path) -> bool:
    try:
        with file.open("rb"):
            return True
    except OSError:
        return False


def _read(file: Path | None) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError):
        return ""
