"""Setting a damaged checkpoint aside, and what to tell of it. Nothing is ever deleted here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint import catalog
from trainer.checkpoint.catalog import Verdict


@dataclass(frozen=True)
class SetAside:
    """What became of it."""

    #: whether it is out of the way of every start
    moved: bool
    #: for the journal
    sentence: str


def set_aside(run_dir: Path, verdict: Verdict) -> SetAside | None:
    """Quarantine it, unless it could not be judged; None: somebody else has done so."""
    problems = "; ".join(verdict.problems)
    moved, outcome = False, "is left alone"
    if not verdict.unread:
        try:
            catalog.quarantine(catalog.checkpoints_dir(run_dir) / verdict.name, problems)
        except FileNotFoundError:
            return None
        except OSError as error:
            # the disk below it is out of order: it may be whole, and is looked at again later
            outcome = f"cannot be set aside ({error.strerror})"
        else:
            moved, outcome = True, "is set aside"
    return SetAside(moved, f"Checkpoint {verdict.name} {outcome}: {problems}.")
