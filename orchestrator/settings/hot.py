"""How each hot table of homerun.toml comes into use while the daemon runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator import chores
from orchestrator.holds.quiet_hours import quiet_of
from orchestrator.settings.config import Config
from orchestrator.settings.reload import Prepare, Reloader
from orchestrator.web.settings import settings_of

if TYPE_CHECKING:
    from orchestrator.assembly import Daemon


def reloader_of(daemon: Daemon, read: Callable[[], Config]) -> Reloader:
    """A reloader of a daemon's configuration; ``read`` loads its file."""
    supervisor = daemon.supervisor

    def journal(kind: str, message: str, severity: str, source: str) -> None:
        supervisor.journal(kind, message, severity=severity, source=source)

    return Reloader(daemon.config, read, preparations(daemon), supervisor.clock, journal)


def preparations(daemon: Daemon) -> dict[str, Prepare]:
    """By table; the last one tells the parts that look things up in the configuration itself."""
    return {
        "daemon": lambda config: lambda: _decisions(daemon, config),
        "checkpoint": lambda config: lambda: daemon.keeper.use(config.checkpoint),
        "quiet_hours": lambda config: _quiet(daemon, config),
        "notify": lambda config: lambda: _messages(daemon, config),
        "web": lambda config: _web(daemon, config),
        "": lambda config: lambda: _known(daemon, config),
    }


def _decisions(daemon: Daemon, config: Config) -> None:
    from orchestrator.assembly import policy_of

    daemon.supervisor.policy = policy_of(config)
    logging.getLogger().setLevel(config.daemon.log_level.upper())


def _quiet(daemon: Daemon, config: Config) -> Callable[[], None]:
    quiet = quiet_of(config.quiet_hours, config.tariff)
    return lambda: daemon.quiet.use(quiet)


def _messages(daemon: Daemon, config: Config) -> None:
    if daemon.lookout.courier is not None:
        daemon.lookout.courier.budget.most_per_hour = config.notify.most_per_hour
        chores.plan_report(daemon, daemon.lookout.courier, config.notify.report_hour)


def _web(daemon: Daemon, config: Config) -> Callable[[], None]:
    """Tokens that were changed, and a certificate that was renewed."""
    settings = settings_of(config.web)
    if daemon.web.tls is not None:
        daemon.web.tls.renew()
    return lambda: daemon.web.use_tokens(settings)


def _known(daemon: Daemon, config: Config) -> None:
    daemon.config = config
    daemon.commands.config = config
