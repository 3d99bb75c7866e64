"""run.json: what is pinned when a run first starts, so that no later attempt computes another."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.checkpoint.commit import replace_file
from trainer.checkpoint.disk import REAL, Disk, read_whole
from trainer.contract.spec import NOT_IN_DIGEST, RunSpec

FILE = "run.json"
_FORMAT = 1
#: far above any real record; a larger one is damage
_LIMIT_BYTES = 16 << 20


class RecordError(Exception):
    """run.json is there but cannot be used."""


class SpecChangedError(Exception):
    """The spec of this attempt is not the one that the run was started with."""


@dataclass(frozen=True)
class Record:
    """The pinned facts of a run."""

    spec: dict[str, Any]
    spec_digest: str
    #: what the newest attempt's bytes depend on; see trainer.environment
    environment: dict[str, Any]
    #: content hash of the prepared corpus; empty until it has been prepared once
    dataset: str = ""
    #: where prepared corpora lay at the last start
    data_dir: str = ""
    #: the recipe that precision = "auto" meant at the first start; empty when the spec names one
    precision: str = ""
    #: earlier environments, oldest first, each with the ``attempt`` that first ran without it
    former: tuple[dict[str, Any], ...] = ()

    @property
    def threads(self) -> int:
        """CPU threads of the first start."""
        return int(self.environment["threads"])

    def settled(self, spec: RunSpec) -> RunSpec:
        """The run's ``spec`` with its pinned recipe in the place of "auto"."""
        if not self.precision:
            return spec
        return dataclasses.replace(
            spec, train=dataclasses.replace(spec.train, precision=self.precision)
        )

    def in_environment(self, environment: dict[str, Any], attempt: int) -> Record:
        """The same run, from ``attempt`` on in another environment."""
        former = (*self.former, {**self.environment, "until_attempt": attempt})
        return dataclasses.replace(self, environment=environment, former=former)


def first(spec: RunSpec, environment: dict[str, Any]) -> Record:
    """The record of a run that has not been started before."""
    return Record(spec.to_dict(), spec.digest(), environment)


def read(run_dir: Path, *, disk: Disk = REAL) -> Record | None:
    """The pinned record, or None when the run has never been started.

    Raises:
        RecordError: the file cannot be read or is none of ours.
    """
    path = run_dir / FILE
    try:
        plain = json.loads(read_whole(disk, path, _LIMIT_BYTES))
        found = plain.pop("format")
        if found != _FORMAT:
            raise RecordError(f"{path}: format {found}, this homerun reads {_FORMAT}")
        plain["former"] = tuple(plain["former"])
        record = Record(**plain)
        _ = record.threads
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"{path} cannot be used: {error!r}") from error
    return record


def write(run_dir: Path, record: Record, *, disk: Disk = REAL) -> None:
    """Replace run.json in one instant: a crash leaves the old one or the new one, both whole.

    Raises:
        OSError: it could not be written; the old one stands.
    """
    plain = {"format": _FORMAT, **dataclasses.asdict(record)}
    replace_file(run_dir / FILE, json.dumps(plain, indent=1).encode() + b"\n", disk)


def refuse_other_spec(record: Record, spec: RunSpec) -> None:
    """Raises SpecChangedError, naming each key that differs, when ``spec`` is another run's."""
    if record.spec_digest == spec.digest():
        return
    differences = _differences(record.spec, spec.to_dict(), "")
    relevant = [text for text in differences if not text.startswith(NOT_IN_DIGEST)]
    raise SpecChangedError(
        f"the spec of run {spec.name!r} has changed since it was started ("
        + "; ".join(relevant)
        + "); a changed run needs a name of its own"
    )


def _differences(before: Any, now: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            text
            for key in sorted({*before, *now})
            for text in _differences(
                before.get(key), now.get(key), f"{path}.{key}" if path else str(key)
            )
        ]
    return [] if before == now else [f"{path}: {before!r} -> {now!r}"]
