"""Restoring: a run comes back from a mirror onto this machine, record and checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.domain import Checkpoint
from orchestrator.errors import HomerunError, Invalid, NotFound, Refused
from orchestrator.keeper import Keeper
from orchestrator.paths import Paths
from orchestrator.recovery import row_of
from orchestrator.settings.config import masked
from trainer.checkpoint import catalog
from trainer.checkpoint.mirror import PlaceError
from trainer.contract import spec as run_spec
from trainer.contract.choices import DEFAULT_CORPUS
from trainer.contract.toml import InvalidFileError

T = TypeVar("T")


@dataclass(frozen=True)
class Restored:
    """What came back."""

    #: as the run was first started with
    spec: dict[str, Any]
    checkpoint: Checkpoint


def bring_back(keeper: Keeper, paths: Paths, run: str, url: str, *, trains: bool) -> Restored:
    """Copy the record and the newest whole checkpoint of ``run`` from below ``url``.

    Raises:
        Invalid: no such name or place can be.
        NotFound: no such run lies there.
        Refused: the run lives here already.
        HomerunError: nothing whole is left there, or the place failed.
    """
    _demand_name(run)
    if trains:
        raise Refused(f"{run} is being trained here", "homerun pause --release, then again")
    here = catalog.list_checkpoints(paths.run(run))
    if here:
        raise Refused(
            f"{run} has a checkpoint of step {here[0].step} here and goes on from it",
            f"move {paths.run(run)} away to restore it all the same",
        )
    with keeper.keeping_still(run):
        spec = _asked(url, lambda: keeper.mirroring.spec_at(run, url))
        if spec is None:
            raise NotFound(
                f"no run {run!r} below {masked(url)}", "give the URL of [checkpoint] mirror"
            )
        _demand_corpus(spec)
        manifest = _asked(url, lambda: keeper.mirroring.restore(run, url))
    if manifest is None:
        raise HomerunError(
            f"no whole checkpoint of {run} is left below {masked(url)}",
            "homerun events names each damaged file",
        )
    newest = catalog.list_checkpoints(paths.run(run))[0]
    return Restored(spec, row_of(run, newest))


def _demand_name(run: str) -> None:
    try:
        run_spec.from_dict({"name": run})
    except InvalidFileError as error:
        raise Invalid(f"no name of a run: {run!r}", str(error)) from None


def _demand_corpus(plain: dict[str, Any]) -> None:
    corpus = plain.get("data", {}).get("corpus", DEFAULT_CORPUS)
    if corpus != DEFAULT_CORPUS and not Path(corpus).is_dir():
        raise Refused(
            f"the run's corpus {corpus} is not on this machine",
            "put the same files there, then restore; what is prepared from them is compared",
        )


def _asked(url: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except PlaceError as error:
        raise Invalid(str(error), "homerun checkpoints restore RUN --from URL") from None
    except Exception as error:  # the libraries behind fsspec raise whatever they like
        raise HomerunError(f"{masked(url)} failed: {error}", "try again when it answers") from error
