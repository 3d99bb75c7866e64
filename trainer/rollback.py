"""Rollback: carrying out a retreat, so that no death on the way leaves half of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from trainer.announce import Announcer
from trainer.checkpoint import catalog, reader
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.format import DamagedError, Name
from trainer.checkpoint.reader import Loaded
from trainer.contract.messages import RolledBack
from trainer.contract.spec import RunSpec
from trainer.health import Retreat
from trainer.saver import Saver
from trainer.state import State, lacking


class Rollback:
    """Goes back to a checkpoint from before the trouble.

    The state found there is saved anew with the batches to leave out; that commit is the
    decision. A death before it finds the run as it was, and comes to the same decision again
    from the same losses; after it the next start sets aside what this one could not.
    """

    def __init__(
        self, run_dir: Path, spec: RunSpec, state: State, saver: Saver, announcer: Announcer
    ) -> None:
        self._run_dir = run_dir
        self._spec = spec
        self._state = state
        self._saver = saver
        self._announcer = announcer

    def carry_out(self, retreat: Retreat) -> None:
        """Make ``state`` that of the checkpoint, and say so.

        Raises:
            OSError: a checkpoint cannot be read, for a reason that says nothing about it.
            LeaveError: a newer attempt owns the run.
        """
        self._announcer.phase("load", "going back")
        # no save of what is left behind may be committed after this one
        self._saver.let_go()
        names = catalog.generations(self._run_dir)
        loaded = self._load(_in_order(names, retreat))
        target = loaded.entry if loaded is not None else None
        # no further than the checkpoint that there is: what came before it is in its weights
        first_step = max(retreat.first_step, target.step if target else 0)
        leaving_out = self._state.skips.leaving_out(first_step, retreat.from_step)
        if loaded is not None:
            self._state.load(loaded.files, loaded.meta)
        else:
            self._begin_again()
        self._state.went_back(retreat, leaving_out)
        undone = [str(name) for name in names if _is_undone(name, target)]
        checkpoint = self._saver.went_back(target, undone)
        self._announcer.say(
            RolledBack(
                from_step=retreat.from_step,
                to_step=self._state.step,
                checkpoint=checkpoint,
                skipped=leaving_out.to_plain(),
                undone=undone,
                times=retreat.times,
                why=retreat.why,
            )
        )

    def _load(self, names: list[Name]) -> Loaded | None:
        for name in names:
            path = catalog.checkpoints_dir(self._run_dir) / str(name)
            try:
                entry = catalog.examine(path)
                if useless := lacking(entry.manifest):
                    raise DamagedError(entry.name, (useless,))
                return reader.load(entry)
            except DamagedError as error:
                self._announcer.damaged(Verdict(str(name), name.step, False, error.problems))
                with contextlib.suppress(OSError):
                    catalog.quarantine(path, "; ".join(error.problems))
        return None

    def _begin_again(self) -> None:
        """The trouble came before the first good checkpoint: back to the very beginning."""
        self._announcer.notice(
            "begins_again", "no checkpoint from before the trouble: training starts over", "error"
        )
        before = self._state.bits_per_byte_before
        fresh = State(self._spec, torch.device("cpu"))
        self._state.load({name: dict(file) for name, file in fresh.files().items()}, fresh.meta())
        if before is not None:
            self._state.evaluated(before)


def _in_order(names: list[Name], retreat: Retreat) -> list[Name]:
    """Which checkpoints to try: each time at one place a generation further back, if there is one.

    ``names`` come newest first. When the road that is to be left out begins before the oldest,
    that one has to do.
    """
    good = [name for name in names if name.step <= retreat.first_bad_step]
    usable = [name for name in good if name.step <= retreat.first_step] or good[-1:]
    wanted = max(0, min(retreat.times, len(usable)) - 1)
    return [*usable[wanted:], *usable[:wanted][::-1]]


def _is_undone(name: Name, target: catalog.Entry | None) -> bool:
    if target is None:
        return True
    return name.step > target.step or str(name) == target.name
