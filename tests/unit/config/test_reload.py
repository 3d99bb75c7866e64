"""A changed configuration while the daemon runs: what is applied, what waits, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import FakeClock
from orchestrator.settings.config import Config, load, sections
from orchestrator.settings.reload import Reloaded, Reloader, changes, is_hot_key

#: every key that can change while the daemon runs; hot.py applies each, and story/test_reload.py
#: sees each of them work
HOT = {
    "daemon": {
        "stall_after",
        "start_timeout",
        "backoff_first",
        "backoff_max",
        "crash_loop_after",
        "drain_timeout",
        "log_level",
    },
    "web": {"token_file", "metrics_token_file"},
    "checkpoint": {
        "history",
        "best",
        "budget_gigabytes",
        "ssd_terabytes_per_month",
        "scrub_every",
        "mirror_every",
        "mirror_keep",
    },
    "quiet_hours": {"time_zone", "release_after", "times"},
    "notify": {"most_per_hour", "report_hour"},
}


def test_every_key_is_of_the_kind_that_is_written_here() -> None:
    config = Config()
    for table, section in sections(config).items():
        keys = type(section).model_fields
        hot = {key for key in keys if is_hot_key(config, table, key)}
        assert hot == HOT.get(table, set()), table


class Bench:
    """A reloader over a real file, with one part that takes the configuration in."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = FakeClock()
        self.used: list[Config] = []
        self.journal: list[tuple[str, str, str, str]] = []
        self.refuses: Callable[[Config], bool] = lambda config: False
        self.reloader = Reloader(
            self.read(),
            self.read,
            {"first": self.prepare, "second": self.prepare_or_refuse},
            self.clock,
            lambda *line: self.journal.append(line),
        )

    def read(self) -> Config:
        return load(self.file, {"HOME": str(self.file.parent)})

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def prepare(self, config: Config) -> Callable[[], None]:
        return lambda: self.used.append(config)

    def prepare_or_refuse(self, config: Config) -> Callable[[], None]:
        if self.refuses(config):
            raise Misconfigured("web.token_file x cannot be read", "make it readable")
        return lambda: None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "homerun.toml").write_text("")
    return Bench(tmp_path / "homerun.toml")


def test_hot_keys_are_in_use_and_cold_ones_are_named_and_wait(bench: Bench) -> None:
    bench.write(
        '[daemon]\nstall_after = "20m"\ntick = "2s"\n'
        "[web]\nport = 9000\n[notify]\nmost_per_hour = 2\n"
    )
    bench.clock.advance(60)
    done = bench.reloader.reload("cli")
    assert done == Reloaded(
        ("daemon.stall_after", "notify.most_per_hour"), ("daemon.tick", "web.port")
    )
    (used,) = bench.used
    assert (used.daemon.stall_after, used.notify.most_per_hour) == (1200.0, 2)
    assert (used.daemon.tick, used.web.port) == (1.0, 8420)
    kind, message, severity, source = bench.journal[-1]
    assert (kind, severity, source) == ("config_reloaded", "info", "cli")
    assert "in use now: daemon.stall_after, notify.most_per_hour" in message
    assert "from the next start on: daemon.tick, web.port" in message
    view = bench.reloader.view()
    assert (view.successful, view.succeeded_at, view.problem) == (True, bench.clock.now(), "")


def test_what_waits_is_named_until_the_restart_and_what_is_in_use_only_once(bench: Bench) -> None:
    bench.write("[web]\nport = 9000\n[notify]\nmost_per_hour = 2\n")
    bench.reloader.reload("cli")
    assert bench.reloader.reload("cli") == Reloaded((), ("web.port",))
    bench.write("")
    assert bench.reloader.reload("cli") == Reloaded(("notify.most_per_hour",), ())
    assert "nothing changed" in bench.reloader.reload("cli").sentence


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[web]\nport = 'x'\n", "homerun.toml:2: web.port"),
        ('[daemon]\nstall_after = "20m"\nbackoff_first = "1h"\n', "backoff_max"),
        ("[web\n", "homerun.toml:1"),
    ],
)
def test_wrong_file_changes_nothing_and_is_told(bench: Bench, text: str, problem: str) -> None:
    began = bench.clock.now()
    bench.clock.advance(60)
    bench.write(text)
    with pytest.raises(Misconfigured) as caught:
        bench.reloader.reload("signal")
    assert problem in caught.value.message
    assert bench.used == []
    view = bench.reloader.view()
    assert (view.successful, view.succeeded_at) == (False, began)
    assert problem in view.problem
    kind, message, severity, source = bench.journal[-1]
    assert (kind, severity, source) == ("config_reload_failed", "warning", "signal")
    assert "the old one stays" in message
    bench.write("")
    bench.reloader.reload("signal")
    assert bench.reloader.view().successful


def test_file_that_is_gone_is_told(bench: Bench) -> None:
    bench.file.unlink()
    with pytest.raises(Misconfigured, match="no such file"):
        bench.reloader.reload("cli")
    assert bench.used == []


def test_one_part_that_cannot_follow_keeps_all_parts_back(bench: Bench) -> None:
    bench.refuses = lambda config: config.notify.most_per_hour == 2
    bench.write("[notify]\nmost_per_hour = 2\n")
    with pytest.raises(Misconfigured, match="cannot be read"):
        bench.reloader.reload("cli")
    assert bench.used == []
    bench.refuses = lambda config: False
    assert bench.reloader.reload("cli").applied == ("notify.most_per_hour",)


def test_signal_reloads_in_a_thread_that_outlives_a_mistake(bench: Bench) -> None:
    bench.write("[web\n")
    bench.reloader.start()
    bench.reloader.ask("signal")
    bench.reloader.ask("signal")
    bench.reloader.stop()
    assert [line[0] for line in bench.journal] == ["config_reload_failed"] * 2


def test_reloader_that_was_never_started_can_be_stopped(bench: Bench) -> None:
    bench.reloader.stop()
    assert bench.journal == []


def test_changes_are_found_in_every_table(tmp_path: Path) -> None:
    old, new = Config(), Config.model_validate({"quiet_hours": [{"hours": "22-7"}]})
    assert changes(old, new) == [("quiet_hours", "times")]
    assert changes(old, Config()) == []
