"""Resume: the newest state of a run, from memory or from the disk, becomes the current one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from trainer.announce import Announcer
from trainer.checkpoint import catalog, reader, slots
from trainer.checkpoint.catalog import Entry, Verdict
from trainer.checkpoint.reader import DamagedError, Loaded
from trainer.contract.job import Job
from trainer.state import State, lacking


@dataclass(frozen=True)
class Resumed:
    """Where training goes on from."""

    #: the newest checkpoint on the disk
    last: Entry | None = None
    #: the slot in memory, where that was newer
    slot: Entry | None = None


def resume(job: Job, dataset: str, state: State, announcer: Announcer) -> Resumed:
    """Load the newest good state into ``state``, and say which ones were not good.

    Args:
        dataset: the id of the run's corpus.

    Raises:
        StateError: what was found does not fit the run.
        OSError: a checkpoint cannot be read, for a reason that says nothing about it.
    """
    announcer.phase("load", "reading the newest state")
    run_dir = Path(job.run_dir)
    # a rollback that was decided, and cut short before it was tidy
    with contextlib.suppress(OSError):
        catalog.finish_rollback(run_dir)
    memory = _Memory(job, dataset, announcer)
    newest = next(iter(catalog.list_checkpoints(run_dir)), None)
    if (loaded := memory.load_after(newest.step if newest else 0)) is not None:
        return _go_on(loaded, newest, state, announcer)
    return _from_disk(run_dir, memory, state, announcer)


def _from_disk(run_dir: Path, memory: _Memory, state: State, announcer: Announcer) -> Resumed:
    met_damaged: list[str] = []

    def tell(verdict: Verdict) -> None:
        met_damaged.append(verdict.name)
        announcer.damaged(verdict)

    loaded = reader.load_newest(run_dir, tell, judge=lacking)
    step = loaded.entry.step if loaded is not None else 0
    if met_damaged and (found := memory.load_after(step)) is not None:
        return _go_on(found, loaded.entry if loaded else None, state, announcer)
    if loaded is not None:
        state.load(loaded.files, loaded.meta)
        return Resumed(loaded.entry)
    if met_damaged or memory.has_lost:
        announcer.notice(
            "starts_over", "no whole checkpoint is left: training starts over at step 0", "error"
        )
    return Resumed()


def _go_on(found: Loaded, newest: Entry | None, state: State, announcer: Announcer) -> Resumed:
    state.load(found.files, found.meta)
    on_disk = (
        f"the newest checkpoint on the disk is of step {newest.step}"
        if newest
        else ("there is no checkpoint on the disk")
    )
    announcer.notice(
        "resumed_from_memory",
        f"goes on from step {found.entry.step}, which a dead attempt has left in memory slot "
        f"{found.entry.path.name}; {on_disk}",
        "info",
    )
    return Resumed(newest, found.entry)


class _Memory:
    """The slots that earlier attempts have left; each is looked at once."""

    def __init__(self, job: Job, dataset: str, announcer: Announcer) -> None:
        self._announcer = announcer
        self._goes_on = job.goes_on
        #: whether any was the run's own and of no use
        self.has_lost = False
        run_dir = Path(job.run_dir)
        if job.spec.checkpoint.ram == "off":
            slots.discard(run_dir)
        for verdict in slots.torn(run_dir):
            # as a rule only cut short by the death of the one that filled it
            self._tell("memory_slot_torn", verdict.name, verdict.problems, "info")
        self._entries = []
        for entry in slots.whole(run_dir):
            if foreign := _foreign(entry, job, dataset):
                self._tell("memory_slot_foreign", entry.path.name, (foreign,))
                self._drop(entry)
            else:
                self._entries.append(entry)

    def load_after(self, step: int) -> Loaded | None:
        """The newest good one with more than ``step`` steps; None when there is none."""
        while self._entries and self._entries[0].step > step:
            entry = self._entries.pop(0)
            try:
                return reader.load(entry)
            except DamagedError as error:
                self._tell("memory_slot_damaged", entry.path.name, error.problems)
            except OSError as error:
                problem = f"cannot be read: {error.strerror}"
                self._tell("memory_slot_damaged", entry.path.name, (problem,))
            self._drop(entry)
        return None

    def _tell(
        self, kind: str, name: str, problems: tuple[str, ...], severity: str = "warning"
    ) -> None:
        text = f"memory slot {name} is not gone on from: {'; '.join(problems)}"
        self._announcer.notice(kind, text, severity)

    def _drop(self, entry: Entry) -> None:
        self.has_lost = self._goes_on
        with contextlib.suppress(OSError):
            slots.invalidate(entry.path)


def _foreign(entry: Entry, job: Job, dataset: str) -> str:
    """Why the state in ``entry`` is none of this run's; empty when it is."""
    manifest = entry.manifest
    if manifest.run != job.spec.name:
        return f"it belongs to run {manifest.run!r}"
    if manifest.spec_digest != job.spec.digest():
        return "it belongs to a run of that name with another spec"
    if manifest.meta.get("dataset") != dataset:
        return "it was trained on another corpus"
    if entry.attempt >= job.attempt:
        return f"attempt {entry.attempt} of the run has not been yet: it belongs to an older one"
    return ""
