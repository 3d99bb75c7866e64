"""Mirroring: the second place for checkpoints, filled in the background and asked in need."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.domain import Effect, Hold, MirrorView, Reason
from orchestrator.home.clock import Clock
from orchestrator.paths import Paths
from orchestrator.recovery import row_of
from orchestrator.settings.checkpoint_config import CheckpointConfig
from orchestrator.store import Store
from orchestrator.token_file import read_or_create
from trainer.checkpoint import catalog, mirror, retention
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.mirror import MARK, LocalPlace, Manifest, Place, PlaceError

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 60.0
_LAST_RETRY_SECONDS = 3600.0
#: marks the holds that are ours
SOURCE = "mirror"


class Journal(Protocol):
    """Writes one entry, and makes the supervisor see it."""

    def __call__(
        self, kind: str, message: str, *, severity: str = "info", run: str | None = None
    ) -> None: ...


class Mirroring:
    """Works in the keeper's thread; what may be called from another one says so."""

    def __init__(
        self,
        store: Store,
        paths: Paths,
        clock: Clock,
        config: CheckpointConfig,
        journal: Journal,
        count: Callable[[str, str], None],
        may_start_over: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """``may_start_over`` asks a person about a run of which nothing is left anywhere."""
        self._may_start_over = may_start_over
        self._store = store
        self._paths = paths
        self._clock = clock
        self._config = config
        self._journal = journal
        self._count = count
        self._wanted: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        #: the names that were seen there
        self._seen: dict[str, frozenset[str]] = {}
        self._views: dict[str, MirrorView] = {}

    # --- filling it -------------------------------------------------------------------------

    def use(self, config: CheckpointConfig) -> None:
        """Other numbers from now on. From any thread."""
        self._config = config

    def has(self, run: str, name: str) -> bool | None:
        """Whether the mirror had this checkpoint when it was last seen. From any thread.

        None: there is no mirror, or it has not been seen.
        """
        seen = self._seen.get(run) if self._config.mirror else None
        return None if seen is None else name in seen

    def view(self, run: str) -> MirrorView | None:
        """How the run's copies are; None without a mirror. From any thread."""
        return self._views.get(run, MirrorView()) if self._config.mirror else None

    def begin(self) -> None:
        """Once, at the daemon's start: whether holds of ours are still needed shows again."""
        now = self._clock.now()
        with self._store.transaction() as tx:
            ours = [hold.id for hold in tx.holds.active(now) if hold.source == SOURCE]
            tx.holds.end(ours, now)

    def saved(self, run: str, *, at_once: bool = False) -> None:
        """There is a new checkpoint to be copied when it is time."""
        if not self._config.mirror:
            return
        now = self._clock.monotonic()
        due = self._wanted.setdefault(run, now)
        if at_once and run not in self._failures:
            self._wanted[run] = min(due, now)

    def work(self) -> None:
        """Copy what is due."""
        for run, due in list(self._wanted.items()):
            if self._clock.monotonic() >= due and self._try_copy(run):
                # the next save within this time waits until it is over
                self._wanted[run] = self._clock.monotonic() + self._config.mirror_every

    def _try_copy(self, run: str) -> bool:
        try:
            copied = self.copy(run)
        except Exception as error:  # the libraries behind fsspec raise whatever they like
            failures = self._failures[run] = self._failures.get(run, 0) + 1
            wait = _FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20)
            self._wanted[run] = self._clock.monotonic() + min(wait, _LAST_RETRY_SECONDS)
            self._count(run, "mirror_failures")
            view = self._views.get(run, MirrorView())
            self._views[run] = dataclasses.replace(view, failure=_words(error))
            if failures == 1:
                self._journal(
                    "mirror_failed",
                    f"No copy in the mirror: {_words(error)}. It is tried again and again.",
                    severity="warning",
                    run=run,
                )
            return False
        again = f", after {self._failures.pop(run)} failures" if run in self._failures else ""
        if copied:
            self._count(run, "mirrored")
            self._journal(
                "mirrored", f"Copied to the mirror and read back: {copied}{again}.", run=run
            )
        return True

    def copy(self, run: str) -> str:
        """Copy the newest checkpoint; its name, or nothing when the mirror has it already.

        Raises:
            PlaceError: the mirror is not there, or holds another run.
            DamagedError: a file changed on the way.
            OSError, and whatever the mirror's library raises.
        """
        run_dir = self._paths.run(run)
        source: Place = LocalPlace(run_dir)
        target = mirror.open_place(self._config.mirror, run)
        if target.is_at(run_dir):
            raise PlaceError(
                "checkpoint.mirror names the directory of the run's own checkpoints: name one on "
                "another disk"
            )
        _refuse_another_run(source, target)
        if (mark := target.read_mark()) and not self._is_ours(mark):
            raise PlaceError(
                f"the copies there are those of another homerun, on {_host(mark)}: give one of "
                f"the two another checkpoint.mirror; if that one is gone, delete {run}/{MARK} there"
            )
        entry = next(
            (one for one in catalog.list_checkpoints(run_dir) if retention.read_back(one)), None
        )
        if entry is None:
            return ""
        if not mark:
            self._sign(target)
        target.write_record(source.read_record())
        copied = ""
        if entry.name not in map(str, mirror.candidates(target)):
            name = next(one for one in source.generations() if str(one) == entry.name)
            mirror.copy(source, target, name)
            copied = entry.name
        mirror.thin(target, self._config.mirror_keep, entry.name)
        self._seen[run] = frozenset(map(str, target.generations()))
        self._views[run] = MirrorView(entry.step, entry.manifest.created)
        return copied

    # --- living off it ----------------------------------------------------------------------

    def rescue(self, run: str) -> bool:
        """Bring a run that has no whole checkpoint here back from the mirror, if it is there.

        False: the mirror cannot be asked and the run was further than the start; a hold says so,
        and this has to be tried again.
        """
        if catalog.list_checkpoints(self._paths.run(run)):
            self._end_hold(run)
            return True
        try:
            manifest = self._bring(run, self._config.mirror)
        except Exception as error:  # see _try_copy
            if not self._was_trained(run):
                return True
            self._hold(run, _words(error))
            return False
        self._end_hold(run)
        if manifest is None:
            return self._may_start_over(run)
        self._journal(
            "restored",
            f"No whole checkpoint was left here; step {manifest.step} came back from the mirror.",
            severity="warning",
            run=run,
        )
        return True

    def spec_at(self, run: str, url: str) -> dict[str, Any] | None:
        """The spec of the run that lies below ``url``; None: there is none. Raises as ``copy``."""
        try:
            plain = json.loads(mirror.open_place(url, run).read_record())
        except FileNotFoundError:
            return None
        spec = plain.get("spec") if isinstance(plain, dict) else None
        if not isinstance(spec, dict) or spec.get("name") != run:
            raise PlaceError("its run.json is no record of that run")
        return spec

    def restore(self, run: str, url: str) -> Manifest | None:
        """Bring a run's record and newest whole checkpoint from ``url``; None: there is none.

        Raises as ``copy`` does.
        """
        return self._bring(run, url)

    def _bring(self, run: str, url: str) -> Manifest | None:
        run_dir = self._paths.run(run)
        source = mirror.open_place(url, run)
        target = LocalPlace(run_dir)
        _refuse_another_run(target, source)
        run_dir.mkdir(parents=True, exist_ok=True)
        manifest = mirror.bring(source, target, lambda verdict: self._tell_damaged(run, verdict))
        if manifest is not None:
            self._index(run)
            self._take_over(run, source)
        return manifest

    def _take_over(self, run: str, place: Place) -> None:
        """From now on the copies there are ours; what else copies there is refused."""
        try:
            before = place.read_mark()
            if self._is_ours(before):
                return
            self._sign(place)
        except Exception as error:  # as in _try_copy; a mirror to read from is good enough
            log.warning("the copies of %s cannot be marked as ours: %s", run, error)
            return
        if before:
            self._journal(
                "mirror_taken_over",
                f"The copies in the mirror were those of a homerun on {_host(before)}; they are "
                "this one's now, and that one can copy there no more.",
                severity="warning",
                run=run,
            )

    def _token(self) -> str:
        """Who we are: a random word, made once."""
        return read_or_create(self._paths.mirror_mark, "the mirror's mark")

    def _is_ours(self, mark: str) -> bool:
        return mark.partition(" ")[0] == self._token()

    def _sign(self, place: Place) -> None:
        # the name of the machine is there for people's eyes
        place.write_mark(f"{self._token()} {socket.gethostname()}")

    def _tell_damaged(self, run: str, verdict: Verdict) -> None:
        self._journal(
            "mirror_damaged",
            f"Checkpoint {verdict.name} in the mirror is damaged: {'; '.join(verdict.problems)}.",
            severity="error",
            run=run,
        )

    def _index(self, run: str) -> None:
        with self._store.transaction() as tx:
            if tx.runs.get(run) is None:
                return
            for entry in catalog.list_checkpoints(self._paths.run(run)):
                tx.checkpoints.add(row_of(run, entry))

    def _was_trained(self, run: str) -> bool:
        with self._store.transaction() as tx:
            return bool(tx.checkpoints.of(run)) or any(
                attempt.last_step for attempt in tx.attempts.of(run)
            )

    def _hold(self, run: str, why: str) -> None:
        if self._holds(run):
            return
        hold = Hold(
            reason=Reason.NETWORK,
            effect=Effect.RELEASE,
            source=SOURCE,
            since=self._clock.now(),
            run=run,
            detail=f"no whole checkpoint is left here, and the mirror cannot be asked: {why}; "
            "mount it, or unset checkpoint.mirror to start over",
        )
        with self._store.transaction() as tx:
            tx.holds.add(hold)
        self._journal("hold_started", f"Held by network: {hold.detail}.", severity="error", run=run)

    def _end_hold(self, run: str) -> None:
        ours = self._holds(run)
        if not ours:
            return
        with self._store.transaction() as tx:
            tx.holds.end(ours, self._clock.now())
        self._journal("hold_ended", "The mirror answers again.", run=run)

    def _holds(self, run: str) -> list[int]:
        with self._store.transaction() as tx:
            active = tx.holds.active(self._clock.now())
        return [hold.id for hold in active if hold.source == SOURCE and hold.run == run]


def _refuse_another_run(mine: Place, other: Place) -> None:
    """Raises PlaceError when ``other`` holds a run of the same name and another spec."""
    wanted, found = mirror.spec_digest(mine), mirror.spec_digest(other)
    if wanted and found and wanted != found:
        raise PlaceError("another run of the same name lies there: move it away, or rename yours")


def _host(mark: str) -> str:
    return mark.partition(" ")[2] or "a machine without a name"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
