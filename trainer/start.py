"""What happens between the lease and the first step: pin, open, build, load."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import environment, portion, record, sizing, supply
from trainer.announce import Announcer
from trainer.checkpoint import catalog, slots
from trainer.checkpoint.lease import Lease
from trainer.clock import Clock
from trainer.contract.job import Job
from trainer.contract.messages import Ready
from trainer.contract.spec import RunSpec
from trainer.data import Dataset, Loader
from trainer.desk import Desk
from trainer.examiner import Examiner
from trainer.peak import peak_of
from trainer.pinned_data import open_pinned
from trainer.record import Record
from trainer.resume import Resumed, resume
from trainer.rollback import Rollback
from trainer.saver import Saver
from trainer.state import State
from trainer.stepper import Stepper


@dataclass(frozen=True)
class Parts:
    """What training is made of, once it can begin."""

    state: State
    saver: Saver
    stepper: Stepper
    examiner: Examiner
    rollback: Rollback


def assemble(job: Job, lease: Lease, desk: Desk, announcer: Announcer, clock: Clock) -> Parts:
    """Everything that a run needs before its next step; says Ready.

    Raises:
        SpecChangedError: another spec is pinned.
        RecordError, DataError, DatasetChangedError, NoDeviceError, StateError, OSError.
        LeaveError: a command said so.
    """
    pinned = _pin(job, announcer)
    # what dead attempts left half-written only costs space
    with contextlib.suppress(OSError):
        catalog.sweep(Path(job.run_dir))

    def progress(detail: str, fraction: float) -> None:
        announcer.phase("data", detail, fraction)
        desk.answer()

    announcer.phase("data", "opening")
    is_first = not pinned.dataset
    dataset, pinned = open_pinned(job, pinned, progress)
    if is_first and (said := supply.repeats(supply.supply_of(job.spec, dataset.train.tokens, 0))):
        announcer.notice("data_repeats", f"{said}, as its spec allows")
    desk.answer()
    announcer.phase("load", "building the model")
    state = State(pinned.settled(job.spec), environment.device_for(job.spec.train.device))
    if is_first and not job.goes_on:
        # the memory of a run that was deleted and begun anew
        slots.discard(Path(job.run_dir))
    resumed = resume(job, dataset.id, state, announcer)
    return _parts(job, lease, desk, announcer, clock, pinned, dataset, state, resumed)


def _parts(
    job: Job,
    lease: Lease,
    desk: Desk,
    announcer: Announcer,
    clock: Clock,
    pinned: Record,
    dataset: Dataset,
    state: State,
    resumed: Resumed,
) -> Parts:
    spec = job.spec
    facts: dict[str, Any] = {"environment": pinned.environment, "dataset": dataset.id}
    saver = Saver(job, lease, state, announcer, clock, facts=facts, resumed=resumed)
    desk.give_saves(saver)
    peak = peak_of(state.device, state.recipe.name, clock)
    loader = Loader(dataset.train, spec.seed, spec.train.micro_batch, spec.model.sequence_length)
    announcer.say(
        Ready(
            step=state.step,
            steps=sizing.horizon_steps(spec),
            parameters=sizing.parameters(spec.model),
            flops_per_token=sizing.flops_per_token(spec.model),
            checkpoint=f"memory/{resumed.slot.path.name}" if resumed.slot else saver.name,
            environment=pinned.environment,
            peak_flops=peak.flops,
            peak_source=peak.source,
        )
    )
    portions = portion.Portion(
        Path(job.run_dir),
        pinned,
        job.attempt,
        spec.train.micro_batch,
        announcer,
        on_change=lambda changed: facts.update(environment=changed),
    )
    stepper = Stepper(
        spec, state, loader, desk, announcer, clock, peak, portions, saver.before_update
    )
    examiner = Examiner(spec, state, dataset, desk, announcer, clock)
    rollback = Rollback(Path(job.run_dir), pinned.settled(spec), state, saver, announcer)
    return Parts(state, saver, stepper, examiner, rollback)


def _pin(job: Job, announcer: Announcer) -> Record:
    """The run's record: written at the first start, compared at every later one."""
    run_dir, spec = Path(job.run_dir), job.spec
    pinned = record.read(run_dir)
    if pinned is not None:
        record.refuse_other_spec(pinned, spec)
    device = environment.device_for(spec.train.device)
    environment.settle(device, environment.threads_for(spec.train, pinned.threads if pinned else 0))
    now = environment.describe(device, spec.train.compile)
    if pinned is not None and portion.KEY in pinned.environment:
        now[portion.KEY] = pinned.environment[portion.KEY]
    if pinned is None:
        pinned = _first(spec, now, environment.precision_for(spec.train, device), announcer)
        record.write(run_dir, pinned)
    elif differences := environment.compare(pinned.environment, now):
        announcer.notice("environment_changed", _changed(differences))
        pinned = pinned.in_environment(now, job.attempt)
        record.write(run_dir, pinned)
    return pinned


def _first(spec: RunSpec, now: dict[str, Any], precision: str, announcer: Announcer) -> Record:
    pinned = record.first(spec, now)
    if precision == spec.train.precision:
        return pinned
    announcer.notice(
        "recipe_settled", f'precision = "auto" means {precision} for this run from now on', "info"
    )
    return dataclasses.replace(pinned, precision=precision)


def _changed(differences: list[str]) -> str:
    return "the same bytes as without an interruption can no longer be promised: " + "; ".join(
        differences
    )
