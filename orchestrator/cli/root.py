"""The command tree, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.session import Session, config_option
from orchestrator.errors import HomerunError
from orchestrator.version import VERSION
from trainer.contract import toml

_GROUPS = "orchestrator.cli.groups"
#: by section of the help: command, and where it is defined
COMMANDS: dict[str, dict[str, str]] = {
    "See how it goes": {
        "status": "status:status",
        "web": "web:web",
        "events": "events:events",
        "logs": "events:logs",
        "runs": "runs:runs",
        "checkpoints": "checkpoints:checkpoints",
        "prices": "prices:prices",
        "schedule": "schedule:schedule",
        "energy": "energy:energy",
        "report": "report:report",
    },
    "Say what to do": {
        "pause": "holds:pause",
        "resume": "holds:resume",
        "finish": "holds:finish",
        "hold": "holds:hold",
        "unhold": "holds:unhold",
        "deadline": "schedule:deadline",
        "submit": "runs:submit",
        "cancel": "runs:cancel",
    },
    "Use what it has learned": {
        "sample": "model:sample",
        "chat": "model:chat",
        "eval": "model:evaluate",
        "export": "export:export",
    },
    "Prepare it": {
        "plan": "plan:plan",
        "profile": "profile:profile",
        "simulate": "simulate:simulate",
        "data": "data:data",
    },
    "Run it": {
        "demo": "serve:demo",
        "serve": "serve:serve",
        "config": "config:config",
        "doctor": "doctor:doctor",
        "bundle": "bundle:bundle",
        "service": "service:service",
        "healthcheck": "health:healthcheck",
        "completion": "completion:completion",
        "version": "version:version",
    },
}


class Root(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name].partition(":")
                command = getattr(importlib.import_module(f"{_GROUPS}.{module}"), attribute)
                assert isinstance(command, click.Command), f"{cmd_name} names no command"
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            hint = toml.nearest(name, known) or f"known are {', '.join(known)}"
            raise click.UsageError(f"no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in COMMANDS.items():
            commands = [(name, self.get_command(ctx, name)) for name in section]
            rows = [(name, command.get_short_help_str(90)) for name, command in commands if command]
            with formatter.section(title):
                formatter.write_dl(rows)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run a command and end the process; every failure leaves by its own exit code."""
        _be_lenient()
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = 2
        except click.UsageError as error:
            code = _tell(_usage(error))
        except click.ClickException as error:
            code = _tell(HomerunError(error.format_message()))
        except HomerunError as error:
            code = _tell(error)
        except click.Abort:
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.UsageError) -> HomerunError:
    path = error.ctx.command_path if error.ctx else "homerun"
    usage = HomerunError(error.format_message().rstrip("."), f"{path} --help")
    usage.exit_code = 2
    return usage


def _tell(error: HomerunError) -> int:
    for line in error.message.splitlines():
        click.echo(f"homerun: {line}", err=True)
    if error.fix:
        click.echo(f"  fix: {error.fix}", err=True)
    return error.exit_code


def _be_lenient() -> None:
    """A terminal that cannot show a sign gets a question mark, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    metavar="URL",
    help="Address of the daemon, instead of $HOMERUN_URL or what it wrote down.",
)
@config_option
@click.version_option(VERSION, message="homerun %(version)s")
@click.pass_context
def root(ctx: click.Context, url: str | None, config: Path | None) -> None:
    """Train a nanochat at home for weeks, and lose nothing.

    The daemon (homerun serve) does the work; all other commands talk to it.
    """
    given = ctx.obj if isinstance(ctx.obj, Session) else Session()
    ctx.obj = Session(url or given.url, config or given.config, given.env, given.clock)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
