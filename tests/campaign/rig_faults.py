"""Faults of the house that no test machine has: played to the real supervisor on a fake clock.

The store is real, and so are decisions, journal and totals; engine, clock and card are the shipped
fakes. What is lost is told in steps elsewhere; here nothing at all may be done twice.
"""

from __future__ import annotations

import random
from pathlib import Path

from orchestrator.domain import AttemptEnd, Effect, Reason
from orchestrator.holds.sleep_sense import SleepSense
from orchestrator.home.logind import Coming, FakeLogind
from orchestrator.home.oom import FakeOom
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.power.gpu_loss import GpuLoss
from orchestrator.supervisor import Wake
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

_HOUR = 3600.0
#: an hour back, a day forward, summer time set by hand, a clock of 1970
_JUMPS = (-_HOUR, 24 * _HOUR, _HOUR, -56 * 365.25 * 24 * _HOUR)


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` of each."""
    chance = random.Random(seed)
    tallies = {
        "the clock jumps (fake clock)": _jump,
        "the machine sleeps (fake clock)": _sleep,
        "the machine says that it sleeps (fake logind)": _announced_sleep,
        "the machine reboots (fake clock)": _reboot,
        "the GPU is lost (simulated card)": _lose_the_card,
        "out of memory in the host (fake kernel)": _run_out_of_memory,
    }
    rows = []
    for name, inject in tallies.items():
        tally = Tally(name)
        place = root / name.partition(" (")[0].replace(" ", "-")
        place.mkdir()
        rig = Rig(place)
        rig.submit(train={**_SHAPE, "steps": 1_000_000})
        rig.train(0, 2)
        for _ in range(count):
            tally.injected += 1
            tally.wrong += not inject(rig, chance)
            tally.recovered_after(0.0)
        rig.store.close()
        rows.append(tally.row())
    return rows


_SHAPE = {"batch_tokens": 64, "micro_batch": 2, "precision": "fp32"}


def _seconds(rig: Rig) -> float:
    return rig.supervisor.books.total("month", "active_seconds")


def _jump(rig: Rig, chance: random.Random) -> bool:
    """Nothing starts, nothing is killed, and time is counted once."""
    before, calls = _seconds(rig), len(rig.engine.calls)
    rig.clock.jump(chance.choice(_JUMPS))
    rig.settle()
    rig.pass_time(10.0)
    return abs(_seconds(rig) - before - 10.0) < 1e-6 and len(rig.engine.calls) == calls


def _sleep(rig: Rig, chance: random.Random) -> bool:
    """It is told, and no watchdog takes it for a stall."""
    before, calls = rig.kinds().count("suspended"), len(rig.engine.calls)
    rig.clock.suspend(chance.uniform(60.0, 12 * _HOUR))
    rig.settle()
    return rig.kinds().count("suspended") == before + 1 and len(rig.engine.calls) == calls


def _announced_sleep(rig: Rig, chance: random.Random) -> bool:
    """It waits until the trainer has saved and left; training goes on where it was."""
    supervisor, logind = rig.supervisor, FakeLogind()
    sense = SleepSense(
        logind,
        rig.clock,
        trainer_lives=lambda: supervisor.life is not None,
        journal=supervisor.journal,
    )
    rig.senses[:] = [sense]
    logind.open(lambda: supervisor.inbox.put(Wake()))
    assert supervisor.progress is not None, "it trains"
    step = supervisor.progress.step
    logind.announce(Coming.SLEEP)
    rig.settle()
    waited = logind.state().waited_for and rig.engine.commands[-1] == m.Stop()
    rig.clock.advance(chance.uniform(0.1, 4.0))
    saved = commit_plain(supervisor.paths.run("month"), step)
    rig.engine.event(m.Saved(step, saved.name, 1000, 0.8, "stop"))
    rig.engine.event(m.Stopped(step, "stop"))
    rig.die("exit code 0")
    let_go = not logind.state().waited_for
    rig.clock.suspend(chance.uniform(60.0, 12 * _HOUR))
    rig.settle()
    if chance.random() < 0.5:  # else the word gets lost (systemd#30666)
        logind.announce(Coming.NOTHING)
    for _ in range(6):  # a lost word is noticed after ten seconds awake
        if rig.engine.running is None:
            rig.pass_time(10.0)
    goes_on = rig.engine.running is not None
    rig.train(step, step + 1)
    return waited and let_go and goes_on and supervisor.books.total("month", "lost_steps") == 0


def _reboot(rig: Rig, chance: random.Random) -> bool:
    """The attempt ends as a reboot, the outage is told, training goes on."""
    rig.supervisor.flush()
    away = chance.uniform(60.0, 12 * _HOUR)
    rig.clock.reboot(away)
    rig.boot += "-again"
    rig.crash()
    ended = rig.ends()[-1] is AttemptEnd.REBOOT
    rig.settle()
    rig.train(1, 2)
    entry = next(e for e in reversed(rig.commands.journal(limit=50)) if e.kind == "outage_over")
    return ended and rig.engine.running is not None and abs(entry.data["seconds"] - away) < 15.0


def _lose_the_card(rig: Rig, chance: random.Random) -> bool:
    """A hold, one wish to be restarted, and training again once the card is back."""
    gpu = SimulatedGpu(rig.clock)
    mark = rig.root / f"gpu-lost-{chance.random()}"
    loss = GpuLoss(gpu, mark, rig.clock)
    rig.senses[:] = [loss]

    def pass_seconds(seconds: float) -> None:
        for _ in range(round(seconds / 5.0)):
            rig.clock.advance(5.0)
            loss.ask()
        rig.settle()

    gpu.lost = True
    pass_seconds(chance.choice((20.0, 40.0)))
    held = rig.supervisor.board.snapshot().setpoint.reasons == (Reason.GPU_LOST,)
    rig.die("exit code 0")
    gpu.lost = False
    pass_seconds(10.0)
    back = rig.pass_time(600.0).setpoint.effect is Effect.RUN
    rig.train(2, 3)
    return held and loss.leaves and back


def _run_out_of_memory(rig: Rig, chance: random.Random) -> bool:
    """The cause is in the journal, and another attempt runs."""
    rig.supervisor.oom = kernel = FakeOom(7)
    rig.die("exit code 1")
    rig.pass_time(600.0)
    rig.train(2, 4)
    kernel.count = 8
    rig.die()
    rig.pass_time(600.0)
    told = [a for a in rig.commands.attempts("month") if "out of memory" in a.cause]
    rig.train(2, 4)
    return bool(told) and rig.engine.running is not None
