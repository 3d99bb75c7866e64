"""A changed homerun.toml while the daemon runs: checked whole, then applied where that can be.

Each key says beside itself whether it is hot (``section.HOT``); all others count at the next
start. Nothing changes unless everything is right: the file, and what its keys lead to.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.errors import HomerunError, Misconfigured
from orchestrator.home.clock import Clock
from orchestrator.settings.config import Config, sections
from orchestrator.settings.section import is_hot
from orchestrator.surroundings import ReloadView

log = logging.getLogger(__name__)

#: gets ready for a configuration, or raises Misconfigured; what it returns takes it into use
Prepare = Callable[[Config], Callable[[], None]]
#: kind, message, severity and source of a line in the journal
Journal = Callable[[str, str, str, str], None]


@dataclass(frozen=True)
class Reloaded:
    """Keys that changed, as table.key: those in use from now on, and those that wait."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For the journal and for people."""
        parts = []
        if self.applied:
            parts.append(f"in use now: {', '.join(self.applied)}")
        if self.needs_restart:
            parts.append(f"from the next start on: {', '.join(self.needs_restart)}")
        return f"The configuration was read again; {'; '.join(parts) or 'nothing changed'}."


class Reloader:
    """``reload`` may be called from any thread, ``ask`` from a signal handler too."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        prepare: Mapping[str, Prepare],
        clock: Clock,
        journal: Journal,
    ) -> None:
        """``read`` loads and checks the file; ``prepare`` is by table."""
        self._config = config
        self._read = read
        self._prepare = prepare
        self._clock = clock
        self._journal = journal
        self._lock = threading.Lock()
        self._view = ReloadView(True, clock.now(), "")
        self._wishes: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="reload", daemon=True)

    def view(self) -> ReloadView:
        """How the last one went; the start counts as one."""
        return self._view

    def reload(self, source: str) -> Reloaded:
        """Read the file again and apply what is hot.

        Raises:
            Misconfigured: it is wrong, or cannot be applied; the old one stays in use.
        """
        with self._lock:
            try:
                done = self._apply(self._read())
            except HomerunError as error:
                self._view = ReloadView(False, self._view.succeeded_at, error.message)
                message = f"The configuration cannot be used, the old one stays: {error.message}"
                self._journal("config_reload_failed", message, "warning", source)
                raise
            self._view = ReloadView(True, self._clock.now(), "")
            self._journal("config_reloaded", done.sentence, "info", source)
            return done

    def _apply(self, wanted: Config) -> Reloaded:
        changed = changes(self._config, wanted)
        hot = [(table, key) for table, key in changed if is_hot_key(wanted, table, key)]
        config = merged(self._config, wanted, hot)
        # Everything that may fail comes first. All of them are asked, also where no key changed:
        # what a key leads to, a token's file say, may have.
        ready = [prepare(config) for prepare in self._prepare.values()]
        for take_into_use in ready:
            take_into_use()
        self._config = config
        cold = [f"{table}.{key}" for table, key in changed if (table, key) not in hot]
        return Reloaded(tuple(f"{table}.{key}" for table, key in hot), tuple(cold))

    # --- by signal --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to hear ``ask``."""
        self._thread.start()

    def ask(self, source: str) -> None:
        """Reload soon, in a thread of our own; a failure is journalled and logged."""
        self._wishes.put(source)

    def stop(self) -> None:
        """Hear no more."""
        self._wishes.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        while (source := self._wishes.get()) is not None:
            try:
                log.info("%s", self.reload(source).sentence)
            except Misconfigured as error:
                log.error("the configuration cannot be used, the old one stays: %s", error.message)
            except Exception:
                log.exception("the configuration could not be read again")


def changes(old: Config, new: Config) -> list[tuple[str, str]]:
    """Table and key of everything that differs, in the order of the file."""
    before = sections(old)
    return [
        (table, key)
        for table, section in sections(new).items()
        for key in type(section).model_fields
        if getattr(section, key) != getattr(before[table], key)
    ]


def is_hot_key(config: Config, table: str, key: str) -> bool:
    """Whether a key can change while the daemon runs."""
    return is_hot(type(sections(config)[table]), key)


def merged(old: Config, new: Config, hot: list[tuple[str, str]]) -> Config:
    """``old`` with some of the keys of ``new``."""
    tables = {}
    for table, section in sections(old).items():
        taken = {key: getattr(sections(new)[table], key) for name, key in hot if name == table}
        if taken:
            tables[table] = section.model_copy(update=taken)
    return old.model_copy(update=tables)
