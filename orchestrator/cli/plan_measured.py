"""What runs have measured, asked of the daemon; and the card in this machine."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Invalid
from orchestrator.planning.estimate import Measured, Wish
from trainer.contract import toml
from trainer.contract.spec import USUAL_SAVE_SECONDS, ModelSpec, RunSpec, from_dict
from trainer.sizing import Card, card_named
from trainer.sizing.storage import storage_of

#: the newest points of the curve that count
_POINTS = 50
#: nobody waits longer for a daemon that may not be there
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Ran:
    """A run of the daemon's."""

    spec: RunSpec
    card: Card | None
    #: None before its first step
    measured: Measured | None


def of_run(session: Session, name: str) -> Ran:
    """A run by its name, with the speed that it has shown.

    Raises:
        Unreachable, NotFound: there is no daemon, or it knows no such run.
        Invalid: the run's spec is none that this version understands.
    """
    client = session.client()
    run = client.get(f"runs/{quote(name, safe='')}")
    spec = _spec(run)
    status = client.get("status")
    active = status["run"] if status["run"] and status["run"]["name"] == name else {}
    samples = client.get(f"runs/{quote(name, safe='')}/samples", limit=_POINTS)
    card = card_named(_device(active))
    return Ran(spec, card, _measured(spec, active, samples))


def of_daemon(session: Session, model: ModelSpec, card: Card | None) -> Measured | None:
    """What the active run has measured, if it trains ``model`` on ``card``.

    A daemon that is not there or does not answer is no failure: the plan then stands on
    assumptions, and says so.
    """
    try:
        client = session.client(_TIMEOUT_SECONDS)
        active = client.get("status")["run"]
        if not active or card is None or card_named(_device(active)) != card:
            return None
        spec = _spec(client.get(f"runs/{quote(active['name'], safe='')}"))
    except (HomerunError, KeyError, TypeError):
        return None
    return _measured(spec, active, []) if spec.model == model else None


def as_run(wish: Wish, spec: RunSpec) -> Wish:
    """The wish with the batches and the saving habits of a run."""
    same = wish.model == spec.model
    return dataclasses.replace(
        wish,
        batch_tokens=spec.train.batch_tokens,
        micro_batch=spec.train.micro_batch if same else 0,
        save_every_seconds=spec.checkpoint.every_seconds or USUAL_SAVE_SECONDS,
    )


def local_card_name() -> str:
    """What the driver calls the first card of this machine; empty when there is none."""
    try:
        import pynvml
    except ImportError:
        return ""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ""
    try:
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except pynvml.NVMLError:
        return ""
    finally:
        pynvml.nvmlShutdown()


def _spec(run: dict[str, Any]) -> RunSpec:
    try:
        return from_dict(run["spec"])
    except toml.InvalidFileError as error:
        raise Invalid(f"run {run['name']} cannot be planned: {error}") from None


def _device(active: dict[str, Any]) -> str:
    """The card of "RTX 4070, dense bf16, reference clock"."""
    return str(active.get("peak_source") or "").partition(",")[0]


def _measured(
    spec: RunSpec, active: dict[str, Any], samples: list[dict[str, Any]]
) -> Measured | None:
    speeds = [each["tokens_per_second"] for each in samples if each["tokens_per_second"]]
    speed = active.get("tokens_per_second") or (statistics.median(speeds) if speeds else None)
    if not speed:
        return None
    power = active.get("power") or {}
    watts = power.get("watts") if power.get("measured") and power.get("source") == "nvml" else None
    return Measured(spec.name, spec.model, storage_of(spec).name, float(speed), watts)
