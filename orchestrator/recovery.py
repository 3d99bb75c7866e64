"""What the daemon does first: understand what the last one left behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.domain import AttemptEnd, Checkpoint, Run
from orchestrator.outage import Beat, Outage, measure
from orchestrator.quarantine import set_aside
from orchestrator.store import Store, Transaction
from trainer.checkpoint import catalog

#: a shorter silence is an ordinary restart
OUTAGE_AFTER = timedelta(seconds=60)


def close_open_attempts(store: Store, beat: Beat) -> Outage | None:
    """End what the last daemon could not end any more, and measure the outage.

    Returns it when it cut into a run; what it cost shows once training goes on.
    """
    now = beat.time
    with store.transaction() as tx:
        last = tx.heartbeat.last()
        gap = measure(Beat(*last, tx.heartbeat.last_uptime()), beat) if last else None
        rebooted = gap is not None and gap.rebooted
        end = AttemptEnd.REBOOT if rebooted else AttemptEnd.DAEMON_LOST
        cause = "the machine went down" if rebooted else "the daemon died above it"
        orphans = tx.attempts.open()
        for attempt in orphans:
            tx.attempts.end(attempt.run, attempt.number, end, cause, now, attempt.last_step)
            tx.counters.add(attempt.run, {"restarts": 1, f"restarts_{end.value}": 1})
            tx.journal.write(
                "attempt_ended",
                f"Attempt {attempt.number} at {attempt.run} ended: {cause}.",
                now,
                severity="warning",
                run=attempt.run,
                data={
                    "attempt": attempt.number,
                    "end": end.value,
                    "cause": cause,
                    "ledger_until": tx.ledger.reached(attempt.run),
                },
            )
            _tell_ledger(tx, last[0] if last else None, now, attempt.run)
        if gap is None or not orphans or not _is_telling(gap):
            return None
        _tell_outage(tx, gap, now, orphans[-1].run)
        return gap


def _tell_ledger(tx: Transaction, last_beat: datetime | None, now: datetime, run: str) -> None:
    """The minute that was open is lost with the daemon; the ledger says so and guesses nothing."""
    reached = tx.ledger.reached(run)
    if reached is None or last_beat is None or last_beat <= reached:
        return
    seconds = (last_beat - reached).total_seconds()
    tx.journal.write(
        "ledger_gap",
        f"The energy of {run} after {reached:%F %T} UTC was not written down any more: "
        f"at least {seconds:.0f} s are missing from the ledger.",
        now,
        run=run,
        data={"since": reached, "seconds": seconds},
    )


def _is_telling(gap: Outage) -> bool:
    return gap.rebooted or gap.seconds is None or gap.seconds >= OUTAGE_AFTER.total_seconds()


def _tell_outage(tx: Transaction, gap: Outage, now: datetime, run: str) -> None:
    if gap.seconds is not None:
        tx.counters.add(run, {"outages": 1, "outage_seconds": gap.seconds})
    doubt = f"; {gap.doubt}" if gap.doubt else ""
    if gap.seconds is None:
        message = f"The length of the outage is unknown{doubt}."
    else:
        message = f"Nothing ran for {gap.length}, since {gap.since:%F %T} UTC{doubt}."
    tx.journal.write(
        "outage",
        message,
        now,
        severity="warning",
        run=run,
        data={
            "since": gap.since.isoformat(),
            "seconds": gap.seconds,
            "rebooted": gap.rebooted,
            "doubt": gap.doubt,
        },
    )


def index_checkpoints(store: Store, runs: list[Run], runs_dir: Path, now: datetime) -> None:
    """Make the index say what the disk says. The disk is the truth."""
    for run in runs:
        run_dir = runs_dir / run.name
        if not run_dir.is_dir():
            continue
        on_disk = {entry.name: entry for entry in catalog.list_checkpoints(run_dir)}
        bad = catalog.damaged(run_dir)
        with store.transaction() as tx:
            indexed = {row.name for row in tx.checkpoints.of(run.name)}
            for name in indexed - on_disk.keys():
                tx.checkpoints.remove(run.name, name)
            for name in on_disk.keys() - indexed:
                tx.checkpoints.add(row_of(run.name, on_disk[name]))
            _set_aside(tx, run.name, run_dir, bad, now)
            if adopted := sorted(on_disk.keys() - indexed):
                tx.journal.write(
                    "checkpoint_adopted",
                    f"On the disk, and unknown to the store until now: {', '.join(adopted)}.",
                    now,
                    run=run.name,
                )
            gone = indexed - on_disk.keys() - {verdict.name for verdict in bad}
            if gone:
                lost = ", ".join(sorted(gone))
                tx.journal.write(
                    "checkpoint_gone",
                    f"No longer on the disk: {lost}.",
                    now,
                    severity="warning",
                    run=run.name,
                )


def _set_aside(
    tx: Transaction, run: str, run_dir: Path, bad: list[catalog.Verdict], now: datetime
) -> None:
    """Name each one that shows its damage without being read; what cannot be judged stays."""
    for verdict in bad:
        done = set_aside(run_dir, verdict)
        if done is None:
            continue
        if not verdict.unread:
            tx.counters.add(run, {"damaged_checkpoints": 1})
        tx.journal.write("checkpoint_damaged", done.sentence, now, severity="error", run=run)


def adopt_checkpoints(store: Store, run: str, run_dir: Path) -> None:
    """Index what a writer that outlived its trainer has committed and could tell nobody.

    And forget what the trainer has set aside as damaged.
    """
    on_disk = catalog.list_checkpoints(run_dir)
    with store.transaction() as tx:
        indexed = {row.name for row in tx.checkpoints.of(run)}
        for name in indexed - {entry.name for entry in on_disk}:
            tx.checkpoints.remove(run, name)
        for entry in on_disk:
            if entry.name not in indexed:
                tx.checkpoints.add(row_of(run, entry))


def row_of(run: str, entry: catalog.Entry) -> Checkpoint:
    """The index row of a checkpoint on disk."""
    return Checkpoint(
        run=run,
        name=entry.name,
        step=entry.step,
        created=entry.created,
        size_bytes=entry.size_bytes,
        attempt=entry.attempt,
        reason=entry.reason,
    )
