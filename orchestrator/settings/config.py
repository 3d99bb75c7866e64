"""homerun.toml as frozen models. Every key is optional and has a default that works."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator import places
from orchestrator.durations import format_seconds
from orchestrator.engine.pulse import PATIENCE
from orchestrator.errors import Misconfigured
from orchestrator.holds.quiet_hours import QuietHoursConfig
from orchestrator.settings.card_config import GpuBusyConfig, ThermalConfig
from orchestrator.settings.checkpoint_config import CheckpointConfig
from orchestrator.settings.mistakes import problem
from orchestrator.settings.mqtt_config import MqttConfig
from orchestrator.settings.plan_config import PlanConfig
from orchestrator.settings.power_config import PowerConfig
from orchestrator.settings.section import HOT, Duration, Section, seconds
from orchestrator.settings.web_config import WebConfig
from orchestrator.tariff.table import TariffConfig
from trainer.contract import toml

#: Ray refuses an object store below 75 MiB
_SMALLEST_OBJECT_STORE_BYTES = 75 * 1024 * 1024
#: of a tenth of it a process that is only slow must be able to answer
_LEAST_PATIENCE_SECONDS = 4.0
#: the keys whose relative paths count from the file
_PATHS = (
    ("daemon", "state_dir"),
    ("web", "token_file"),
    ("web", "metrics_token_file"),
    ("web", "tls_certificate_file"),
    ("web", "tls_key_file"),
    ("store", "url_file"),
    ("tariff", "token_file"),
    ("power", "token_file"),
    ("notify", "urls_file"),
    ("mqtt", "password_file"),
    ("mqtt", "ca_file"),
    ("tariff", "file"),
    ("checkpoint", "mirror"),
)


class DaemonConfig(Section):
    """The supervisor itself."""

    state_dir: str = Field(
        default_factory=lambda: str(places.default_state_dir(os.environ)),
        min_length=1,
        description="Directory for the database, the runs and their checkpoints, on a local disk. "
        "Unless set: $HOMERUN_STATE_DIR, $STATE_DIRECTORY (systemd), $XDG_STATE_HOME/homerun, "
        "~/.local/state/homerun.",
    )
    tick: Duration = Field(
        default=1.0, gt=0.0, description="How often the daemon looks and decides."
    )
    stall_after: Duration = Field(
        json_schema_extra=HOT,
        default=600.0,
        gt=0.0,
        description="A trainer without any sign of life for so long is killed and started anew.",
    )
    start_timeout: Duration = Field(
        json_schema_extra=HOT,
        default=900.0,
        gt=0.0,
        description="The same while it still prepares data or loads a checkpoint.",
    )
    backoff_first: Duration = Field(
        json_schema_extra=HOT,
        default=2.0,
        description="Wait before the second attempt that made no progress; then it doubles.",
    )
    backoff_max: Duration = Field(
        json_schema_extra=HOT, default=300.0, description="The longest such wait."
    )
    crash_loop_after: int = Field(
        json_schema_extra=HOT,
        default=5,
        strict=True,
        ge=1,
        description="So many attempts in a row without progress hold the run until you resume it.",
    )
    drain_timeout: Duration = Field(
        json_schema_extra=HOT,
        default=120.0,
        description="How long a stopping daemon waits for the last checkpoint.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        json_schema_extra=HOT, default="info", description="How much the daemon logs."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_max < self.backoff_first:
            raise PydanticCustomError(
                "contradiction", "backoff_max|must not be below backoff_first"
            )
        return self

    @property
    def state_path(self) -> Path:
        """``state_dir`` as a path."""
        return Path(self.state_dir)


class EngineConfig(Section):
    """How trainer processes are started."""

    kind: Literal["ray", "local"] = Field(
        default="ray", description='"ray", or "local": the same trainer as a plain child process.'
    )
    object_store_bytes: int = Field(
        default=80_000_000,
        strict=True,
        ge=_SMALLEST_OBJECT_STORE_BYTES,
        description="Shared memory for Ray's object store; nothing large ever goes through it.",
    )
    hung_after: Duration = Field(
        default=PATIENCE.hung_after_seconds,
        ge=_LEAST_PATIENCE_SECONDS,
        description="The engine process, Ray's raylet or its GCS, silent for so long, is killed "
        "with all of Ray and started again; the run goes on from memory.",
    )
    start_timeout: Duration = Field(
        default=PATIENCE.start_seconds,
        ge=_LEAST_PATIENCE_SECONDS,
        description="The same while raylet and GCS come up, and for Ray to start a trainer.",
    )


class StoreConfig(Section):
    """The database."""

    url: str = Field(
        default="",
        description="SQLAlchemy URL of another database, such as PostgreSQL. "
        "Empty: SQLite in the state directory.",
    )
    url_file: str = Field(
        default="", description="File that holds the URL, for one with a password."
    )

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.url and self.url_file:
            raise PydanticCustomError("contradiction", "url_file|give url or url_file, not both")
        return self


class UpsConfig(Section):
    """The UPS, by Network UPS Tools (NUT)."""

    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="The UPS as NUT knows it (upsc -l). Empty: there is none.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Where upsd listens.")
    port: int = Field(default=3493, strict=True, ge=1, le=65535, description="Its port.")
    poll: Duration = Field(default=2.0, gt=0.0, description="How often it is asked.")
    debounce: Duration = Field(
        default=8.0,
        description="Computing stops at once; the checkpoint follows when the mains stay away "
        "for so long.",
    )
    reserve: Duration = Field(
        default=120.0, description="The checkpoint is taken before the battery lasts only so long."
    )
    recharge_ratio: float = Field(
        default=0.4, ge=0.0, le=1.0, description="Go on when the battery is so full again."
    )
    recharge: Duration = Field(
        default=1800.0, description="The longest wait for that, once the mains are back."
    )


class NotifyConfig(Section):
    """Messages to your phone."""

    urls_file: str = Field(
        default="",
        description="File with one apprise URL a line (ntfy://…, tgram://…, mailto://…); mode "
        "0600. Empty: no messages.",
    )
    most_per_hour: int = Field(
        json_schema_extra=HOT,
        default=6,
        strict=True,
        ge=1,
        description="Messages an hour; what is more waits and comes together.",
    )
    report_hour: int = Field(
        json_schema_extra=HOT,
        default=8,
        strict=True,
        ge=-1,
        le=23,
        description="When the daily report comes, local time; -1 for never.",
    )


class Config(Section):
    """The whole file."""

    #: made anew each time, because its state_dir depends on the environment
    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    engine: EngineConfig = EngineConfig()
    web: WebConfig = WebConfig()
    power: PowerConfig = PowerConfig()
    store: StoreConfig = StoreConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tariff: TariffConfig = TariffConfig()
    plan: PlanConfig = PlanConfig()
    quiet_hours: QuietHoursConfig = QuietHoursConfig()
    thermal: ThermalConfig = ThermalConfig()
    gpu_busy: GpuBusyConfig = GpuBusyConfig()
    ups: UpsConfig = UpsConfig()
    notify: NotifyConfig = NotifyConfig()
    mqtt: MqttConfig = MqttConfig()


@dataclass(frozen=True)
class Loaded:
    """A configuration and where it is from."""

    config: Config
    #: None: there is no file, everything is a default
    file: Path | None
    text: str
    plain: dict[str, Any]


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """The effective configuration.

    Args:
        path: the file of --config; None looks in the usual places.

    Raises:
        Misconfigured: listing every problem as ``file:line: key: message``.
    """
    return load_from(path, env).config


def load_from(path: Path | None, env: Mapping[str, str]) -> Loaded:
    """As ``load``, with the file that it came from."""
    file = places.config_file(path, env)
    try:
        plain, text = toml.read(file) if file is not None else ({}, "")
        config = _checked(plain, text, str(file), env)
    except toml.InvalidFileError as error:
        raise Misconfigured(str(error), "correct it, then ask: homerun config check") from None
    if file is not None:
        config = _with_absolute_paths(config, file.absolute().parent)
    return Loaded(config, file, text, plain)


def view(config: Config) -> dict[str, Any]:
    """As plain JSON types with durations as text and passwords masked."""
    return {
        name: {
            key: _shown(key, getattr(section, key), is_duration(type(section), key))
            for key in type(section).model_fields
        }
        for name, section in sections(config).items()
    }


def sections(config: Config) -> dict[str, Section]:
    """The tables by name, in the order of the file."""
    return {name: cast(Section, getattr(config, name)) for name in Config.model_fields}


def is_duration(section: type[Section], key: str) -> bool:
    """Whether the file writes this key as a text such as "2h"."""
    metadata = section.model_fields[key].metadata
    return any(isinstance(item, BeforeValidator) and item.func is seconds for item in metadata)


def _shown(key: str, value: Any, duration: bool) -> Any:
    if duration:
        return format_seconds(value)
    if key in ("url", "mirror"):
        return masked(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case tuple():
            return [_plain(item) for item in value]
        case Section():
            return {key: _plain(getattr(value, key)) for key in sorted(value.model_fields_set)}
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value


def masked(url: str) -> str:
    """The URL without its password."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    if not (separator and at and ":" in user):
        return url
    return f"{scheme}://{user.split(':')[0]}:***@{place}"


def _with_absolute_paths(config: Config, base: Path) -> Config:
    tables: dict[str, Section] = {}
    for name, key in _PATHS:
        section = tables.get(name) or sections(config)[name]
        text = getattr(section, key)
        if text and "://" not in text:
            absolute = str(places.resolve(text, base))
            tables[name] = section.model_copy(update={key: absolute})
    return config.model_copy(update=tables)


# --- problems -------------------------------------------------------------------------------


def _checked(plain: dict[str, Any], text: str, file: str, env: Mapping[str, str]) -> Config:
    wanted = dict(plain)
    daemon = plain.get("daemon", {})
    if isinstance(daemon, dict) and "state_dir" not in daemon:
        wanted["daemon"] = {**daemon, "state_dir": str(places.default_state_dir(env))}
    config, errors = _validated(wanted)
    if config is not None:
        return config
    # A table's own contradictions are only looked for once its keys are right, so ask again
    # without the wrong ones: a person should see all problems at once.
    _, more = _validated(_without(wanted, [error["loc"] for error in errors]))
    problems = [problem(Config, item, text, file) for item in (*errors, *more)]
    raise toml.InvalidFileError(sorted(problems, key=lambda item: item.line))


def _validated(plain: dict[str, Any]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(plain, context="file"), []
    except ValidationError as error:
        return None, error.errors()


def _without(plain: dict[str, Any], places_to_drop: list[tuple[int | str, ...]]) -> dict[str, Any]:
    tables = copy.deepcopy(plain)
    for place in places_to_drop:
        table: Any = tables
        for part in place[:-1]:
            # one element of a list cannot go without moving the others: the list goes
            if not isinstance(table.get(part), dict):
                table.pop(part, None)
                break
            table = table[part]
        else:
            table.pop(place[-1], None)
    return tables
