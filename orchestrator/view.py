"""The snapshot: all that readers may know, put together in one place. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.domain import (
    Bill,
    DaemonView,
    Effect,
    Hold,
    MirrorView,
    PlanView,
    Power,
    QueueItem,
    Register,
    Run,
    RunView,
    Setpoint,
    Snapshot,
)
from orchestrator.headline import headline
from orchestrator.progress import Life, Progress
from trainer.contract.spec import CheckpointSpec

_UNKNOWN_POWER = Power(None, "none", measured=False)


@dataclass(frozen=True)
class Figures:
    """What others than the supervisor add to the snapshot."""

    plan: PlanView | None = None
    bills: tuple[Bill, ...] = ()


@dataclass
class Situation:
    """What the supervisor gathered during one tick."""

    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    daemon: DaemonView | None = None
    setpoint: Setpoint = field(default_factory=lambda: Setpoint(Effect.RUN))
    holds: tuple[Hold, ...] = ()
    register: Register = field(default_factory=lambda: Register(None, (), (), (), ()))
    life: Life | None = None
    progress: Progress | None = None
    power: Power = _UNKNOWN_POWER
    totals: dict[str, dict[str, float]] = field(default_factory=dict)
    #: only these may be shown as counters: what is not yet written can be lost with the daemon
    written_totals: dict[str, dict[str, float]] = field(default_factory=dict)
    next_start: datetime | None = None
    #: of the active run
    mirror: MirrorView | None = None
    plan: PlanView | None = None
    bills: tuple[Bill, ...] = ()
    #: why nothing can be written down now; what is shown may be old then
    trouble: str = ""


def build(situation: Situation) -> Snapshot:
    """The snapshot of a situation."""
    assert situation.daemon is not None, "the supervisor knows its daemon"
    run = _run_view(situation)
    sentence = headline(
        situation.now, run, situation.setpoint, situation.holds, len(situation.register.queue)
    )
    if situation.trouble:
        sentence = f"Nothing can be written down: {situation.trouble}. As known before: {sentence}"
    return Snapshot(
        time=situation.now,
        headline=sentence,
        daemon=situation.daemon,
        setpoint=situation.setpoint,
        holds=situation.holds,
        run=run,
        queue=tuple(QueueItem(item.name, item.priority) for item in situation.register.queue),
        counters=situation.written_totals,
        journal=situation.register.journal,
        plan=situation.plan if run is not None else None,
        bills=situation.bills,
    )


def _run_view(situation: Situation) -> RunView | None:
    run, progress = situation.register.run, situation.progress
    if run is None or progress is None or progress.run != run.name:
        return None
    life = situation.life if situation.life and situation.life.run == run.name else None
    totals = situation.totals.get(run.name, {})
    energy = totals.get("energy_joules", 0.0)
    return RunView(
        name=run.name,
        state=run.state,
        phase=life.phase.phase if life else "idle",
        phase_detail=life.phase.detail if life else "",
        phase_fraction=life.phase.fraction if life and life.phase.fraction >= 0 else None,
        attempt=life.attempt if life else None,
        trainer_pid=life.pid if life else None,
        parameters=progress.parameters,
        step=progress.step,
        steps=progress.steps,
        micro=progress.micro,
        micro_batches=progress.micro_batches,
        tokens=progress.tokens,
        epoch=progress.epoch,
        loss=progress.loss,
        bits_per_byte=progress.bits_per_byte,
        bits_per_byte_before=progress.bits_per_byte_before,
        tokens_per_second=progress.tokens_per_second,
        mfu=progress.mfu,
        peak_source=progress.peak_source,
        step_seconds=progress.step_seconds,
        gradient_norm=progress.gradient_norm,
        lr_multiplier=progress.lr_multiplier,
        progress=progress.fraction,
        eta=_eta(situation, progress),
        power=situation.power,
        energy_joules=energy,
        energy_measured=energy > 0 and totals.get("energy_estimated_joules", 0.0) == 0,
        active_seconds=totals.get("active_seconds", 0.0),
        lost_steps=int(totals.get("lost_steps", 0)),
        restarts=int(totals.get("restarts", 0)),
        checkpoint=progress.checkpoint,
        next_start=situation.next_start if life is None else None,
        loss_history=tuple(progress.losses),
        unsaved_seconds=unsaved_seconds(life, progress, totals),
        saves=progress.saves,
        checkpoint_every_seconds=float(
            run.spec.get("checkpoint", {}).get("every_seconds", CheckpointSpec().every_seconds)
        ),
        memory_step=progress.memory_step if life is None else None,
        mirror=situation.mirror,
    )


def unsaved_seconds(
    life: Life | None, progress: Progress | None, totals: dict[str, float]
) -> float | None:
    """Computing that a power cut would lose now; None while no trainer computes."""
    if life is None or life.ready is None or progress is None or progress.run != life.run:
        return None
    if progress.saved_at_active_seconds is None:
        return None
    return max(0.0, totals.get("active_seconds", 0.0) - progress.saved_at_active_seconds)


def most_lost_seconds(run: Run) -> float:
    """What a power cut may cost the run, as its spec says."""
    default = CheckpointSpec().most_lost_seconds
    return float(run.spec.get("checkpoint", {}).get("most_lost_seconds", default))


def _eta(situation: Situation, progress: Progress) -> datetime | None:
    if situation.plan is not None and situation.plan.finish is not None:
        return situation.plan.finish
    seconds = progress.seconds_left()
    if seconds is None:
        return None
    begins = situation.now
    if situation.setpoint.effect not in (Effect.RUN, Effect.CAP):
        if situation.setpoint.until is None:
            return None
        begins = situation.setpoint.until
    return begins + timedelta(seconds=seconds)
