"""What others leave for the supervisor's thread."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine.base import Note
from orchestrator.orders import SaveOrder
from orchestrator.power.xid_watch import XidNews


@dataclass(frozen=True)
class Wake:
    """Something changed: tick now."""

    #: a person's command did it
    commanded: bool = False
    #: end a back-off
    forgive: bool = False


@dataclass(frozen=True)
class Count:
    """Something happened to a run that a total counts, outside the supervisor's thread."""

    run: str
    name: str


Item = Note | SaveOrder | Wake | Count | XidNews
