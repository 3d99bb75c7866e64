"""Every hot key of homerun.toml, changed under assembled parts: each is really in use then."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator import chores
from orchestrator.assembly import Daemon, assemble
from orchestrator.errors import Misconfigured
from orchestrator.holds.senses import Moment
from orchestrator.paths import Paths
from orchestrator.settings.config import Config, load, sections, view
from orchestrator.settings.hot import reloader_of
from orchestrator.settings.reload import Reloader, is_hot_key


class Rig:
    """A daemon's parts over a real file; only the web server and the calendar run."""

    def __init__(self, daemon: Daemon, reloader: Reloader, file: Path, base: str) -> None:
        self.daemon, self.reloader, self.file, self._base = daemon, reloader, file, base

    def change(self, table: str, line: str) -> tuple[str, ...]:
        """Reload with one more line; what came into use."""
        head = f"[{table}]\n"
        text = self._base.replace(head, f"{head}{line}\n")
        self.file.write_text(text if head in self._base else f"{self._base}\n{head}{line}\n")
        return self.reloader.reload("test").applied

    def status_of(self, token: str, path: str = "/api/v1/status") -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.get(self.daemon.web.url + path, headers=headers, trust_env=False).status_code

    def report_hour(self) -> int | None:
        (job,) = [
            job for job in self.daemon.calendar._scheduler.get_jobs() if job.id == "daily-report"
        ] or [None]
        return int(str(job.trigger.fields[5])) if job else None

    def quiet_detail(self) -> str:
        now = self.daemon.supervisor.clock.now()
        return ",".join(hold.effect for hold in self.daemon.quiet.look(Moment(now, 0.0, None)))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "urls").write_text("json://127.0.0.1:1\n")
    base = (
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[engine]\nkind = "local"\n[web]\nport = 0\n'
        f'[notify]\nurls_file = "{tmp_path}/urls"\n[quiet_hours]\n[checkpoint]\n'
    )
    file = tmp_path / "homerun.toml"
    file.write_text(base)
    (tmp_path / "state").mkdir()
    level = logging.getLogger().level

    def read() -> Config:
        return load(file, os.environ)

    with ExitStack() as stack:
        daemon = assemble(read(), Paths(tmp_path / "state"), stack)
        reloader = reloader_of(daemon, read)
        stack.callback(daemon.calendar.stop)
        chores.fill_with_messages(daemon)
        daemon.calendar.drop("messages")
        daemon.calendar.start()
        daemon.supervisor.recover()
        daemon.web.start(daemon.commands, daemon.config, reloader.reload)
        yield Rig(daemon, reloader, file, base)
    logging.getLogger().setLevel(level)


ALL_DAY = 'times = [{ days = "Mo-Su", hours = "0-24", effect = "pause" }]'
#: key, the line that changes it, what then is seen of it
See = Callable[[Rig], Any]
CHANGES: list[tuple[str, str, See, Any]] = [
    ("daemon.stall_after", '"20m"', lambda r: r.daemon.supervisor.policy.stall_after_seconds, 1200),
    (
        "daemon.start_timeout",
        '"20m"',
        lambda r: r.daemon.supervisor.policy.start_timeout_seconds,
        1200,
    ),
    ("daemon.backoff_first", '"7s"', lambda r: r.daemon.supervisor.policy.backoff_first_seconds, 7),
    ("daemon.backoff_max", '"10m"', lambda r: r.daemon.supervisor.policy.backoff_max_seconds, 600),
    ("daemon.crash_loop_after", "9", lambda r: r.daemon.supervisor.policy.crash_loop_after, 9),
    ("daemon.drain_timeout", '"9s"', lambda r: r.daemon.supervisor.policy.stop_timeout_seconds, 9),
    ("daemon.log_level", '"error"', lambda r: logging.getLogger().level, logging.ERROR),
    ("checkpoint.history", "3", lambda r: r.daemon.keeper.policy_of(None).history, 3),
    ("checkpoint.best", "4", lambda r: r.daemon.keeper.policy_of(None).best, 4),
    (
        "checkpoint.budget_gigabytes",
        "7",
        lambda r: r.daemon.keeper.policy_of(None).budget_bytes,
        7_000_000_000,
    ),
    ("checkpoint.ssd_terabytes_per_month", "2.0", lambda r: r.daemon.keeper.month_bytes, 2e12),
    ("checkpoint.scrub_every", '"1h"', lambda r: r.daemon.keeper._config.scrub_every, 3600),
    (
        "checkpoint.mirror_every",
        '"2h"',
        lambda r: r.daemon.keeper.mirroring._config.mirror_every,
        7200,
    ),
    ("checkpoint.mirror_keep", "9", lambda r: r.daemon.keeper.mirroring._config.mirror_keep, 9),
    ("quiet_hours.times", ALL_DAY, Rig.quiet_detail, "pause"),
    (
        "quiet_hours.release_after",
        '"1h"\ntimes = [{ days = "Mo-Su", hours = "0-24" }]',
        Rig.quiet_detail,
        "release",
    ),
    (
        "quiet_hours.time_zone",
        f'"Asia/Tokyo"\n{ALL_DAY}',
        lambda r: (r.quiet_detail(), str(r.daemon.quiet._quiet.zone)),
        ("pause", "Asia/Tokyo"),
    ),
    ("notify.most_per_hour", "2", lambda r: r.daemon.lookout.courier.budget.most_per_hour, 2),
    ("notify.report_hour", "17", Rig.report_hour, 17),
    ("web.token_file", '"token"', lambda r: r.status_of(""), 401),
    (
        "web.metrics_token_file",
        '"metrics"\ntoken_file = "token"',
        lambda r: (
            r.status_of((r.file.parent / "metrics").read_text().strip(), "/metrics"),
            r.status_of("", "/metrics"),
        ),
        (200, 401),
    ),
]


@pytest.mark.parametrize(("key", "value", "see", "seen"), CHANGES, ids=[row[0] for row in CHANGES])
def test_hot_key_is_in_use_after_a_reload(
    rig: Rig, key: str, value: str, see: See, seen: object
) -> None:
    table, name = key.split(".")
    assert see_or_none(see, rig) != seen
    line = value if value.startswith(f"{name} =") else f"{name} = {value}"
    assert key in rig.change(table, line)
    assert see(rig) == seen
    assert rig.daemon.commands.config_view()[table] == view(rig.daemon.config)[table]
    rig.file.write_text(rig._base)
    rig.reloader.reload("test")
    assert see_or_none(see, rig) != seen


def see_or_none(see: See, rig: Rig) -> Any:
    try:
        return see(rig)
    except OSError:
        return None


def test_every_hot_key_is_among_them() -> None:
    config = Config()
    hot = {
        f"{table}.{key}"
        for table, section in sections(config).items()
        for key in type(section).model_fields
        if is_hot_key(config, table, key)
    }
    assert hot == {row[0] for row in CHANGES}


def test_token_that_was_written_anew_counts_after_a_reload(rig: Rig) -> None:
    rig.change("web", 'token_file = "token"')
    token = rig.file.parent / "token"
    first = token.read_text().strip()
    assert rig.status_of(first) == 200
    token.write_text("another-token\n")
    assert rig.status_of(first) == 200
    rig.reloader.reload("test")
    assert (rig.status_of(first), rig.status_of("another-token")) == (401, 200)


def test_token_file_without_a_token_keeps_everything_as_it_is(rig: Rig) -> None:
    (rig.file.parent / "empty").write_text("")
    with pytest.raises(Misconfigured, match=r"web\.token_file"):
        rig.change("web", 'token_file = "empty"')
    assert rig.status_of("") == 200
    assert not rig.reloader.view().successful


def test_no_report_any_more_and_again(rig: Rig) -> None:
    rig.change("notify", "report_hour = -1")
    assert rig.report_hour() is None
    rig.change("notify", "report_hour = 6")
    assert rig.report_hour() == 6


def test_quiet_hours_end_with_their_line(rig: Rig) -> None:
    rig.change("quiet_hours", ALL_DAY)
    now = rig.daemon.supervisor.clock.now()
    (hold,) = rig.daemon.quiet.look(Moment(now, 0.0, None))
    assert rig.daemon.quiet.look(Moment(now + timedelta(seconds=1), 1.0, None)) == (hold,)
    rig.file.write_text(rig._base)
    rig.reloader.reload("test")
    assert rig.daemon.quiet.look(Moment(now + timedelta(seconds=2), 2.0, None)) == ()


def test_reload_by_the_api_is_journalled_and_told(rig: Rig) -> None:
    rig.file.write_text(
        rig._base.replace("[checkpoint]", "[checkpoint]\nbest = 2").replace("port = 0", "port = 1")
    )
    answer = httpx.post(f"{rig.daemon.web.url}/api/v1/config/reload", json={}, trust_env=False)
    assert answer.json() == {"applied": ["checkpoint.best"], "needs_restart": ["web.port"]}
    entry = rig.daemon.commands.journal()[-1]
    assert (entry.kind, entry.data["source"]) == ("config_reloaded", "api")
    rig.file.write_text("[web]\nport = 'x'\n")
    answer = httpx.post(f"{rig.daemon.web.url}/api/v1/config/reload", json={}, trust_env=False)
    assert answer.status_code == 422
    assert "web.port" in answer.json()["error"]["message"]
    assert rig.daemon.commands.journal()[-1].kind == "config_reload_failed"
