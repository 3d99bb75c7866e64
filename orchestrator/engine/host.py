"""The engine process: starts trainers for the daemon, and dies with it.

``python -m orchestrator.engine.host`` speaks ``wire`` on stdin and stdout. The end of stdin
means that the daemon is gone: everything below is killed, awaited, and the process ends, also
while it is starting. The end of a vital part of Ray means the same, with exit code 3.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from orchestrator.engine import process, pulse, sweep, wire
from orchestrator.engine.base import EngineReady, TrainerEvent, TrainerExited
from orchestrator.engine.launcher import Launcher, LaunchError, Place, Ticket
from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import Asked, Patience
from orchestrator.engine.reporter import Reporter
from orchestrator.engine.trainer_socket import TrainerSocket
from orchestrator.home.clock import Clock, SystemClock
from trainer.checkpoint import catalog
from trainer.contract.job import Guardian, Job
from trainer.contract.messages import Event, ProtocolError

EXIT_LOST = 3
#: to kill what is below, before the daemon does it from above
_TEARDOWN_SECONDS = 10.0
#: to kill one trainer; the daemon waits a little longer for the answer
KILL_SECONDS = 2.0
#: Ray's parts may die a moment after the trainer that they take with them
_VITAL_SECONDS = 0.2
_DRAIN_SECONDS = 2.0
_ROUND_SECONDS = 0.1
_CHUNK_BYTES = 1 << 16
#: of 1000; inherited by all that the engine starts
_OOM_SCORE = 300


@dataclasses.dataclass
class Life:
    """The trainer that runs now."""

    job: Job
    ticket: Ticket
    thread: threading.Thread
    #: once it is known
    process: Identity | None = None
    #: why it was killed, once it is
    why: str = ""


class Host:
    """Carries out orders. Those that must work when Ray hangs need nothing of Ray."""

    def __init__(
        self, place: Place, daemon: Identity, mark: sweep.Mark, reporter: Reporter, clock: Clock
    ) -> None:
        self._place = place
        self._mark = mark
        self._reporter = reporter
        self._clock = clock
        self._guardians = tuple(
            Guardian(item.pid, item.start_ticks) for item in (daemon, process.own_identity())
        )
        self._socket = TrainerSocket(place.socket, self._relay)
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._life: Life | None = None
        self._launcher: Launcher | None = None
        self._waiting: list[Job] = []
        self._vital: list[tuple[str, Identity]] = []
        self._pulses: list[pulse.Pulse] = []
        self._baseline: frozenset[Identity] = frozenset()

    # --- starting ---------------------------------------------------------------------------

    def open(self, launcher: Launcher) -> None:
        """Bring the launcher up, report ready, begin what was ordered meanwhile."""
        self._socket.serve()
        try:
            pids = launcher.open(self)
        except LaunchError as error:
            self.lose(str(error))
        except Exception as error:
            self.lose(f"the engine cannot start: {type(error).__name__}: {error}")
        self._baseline = frozenset(
            found.identity for found in self._mark.members().values() if not found.dead
        )
        vital = {name: part.pid for name, part in self._vital}
        self._reporter.say(EngineReady({"host": os.getpid(), **vital, **pids}))
        with self._lock:
            self._launcher = launcher
            waiting, self._waiting = self._waiting, []
        for job in waiting:
            self.start(job)
        threading.Thread(target=self._say_alive, name="alive", daemon=True).start()

    def _say_alive(self) -> None:
        while True:
            self._reporter.say(wire.Alive())
            self._clock.sleep(self._place.patience.period_seconds)

    def watch(self, name: str, part: Identity) -> None:
        """End everything as soon as this process is gone."""
        self._vital.append((name, part))
        threading.Thread(target=self._guard, args=(name, part), name=name, daemon=True).start()

    def feel_pulse(self, part: Identity, asked: Asked) -> None:
        """End everything as soon as this process hangs."""
        felt = pulse.Pulse(part, asked, self._place.patience, self._clock)
        self._pulses.append(felt)
        threading.Thread(target=self._feel, args=(felt,), name="pulse", daemon=True).start()

    def _feel(self, felt: pulse.Pulse) -> NoReturn:
        felt.wait_until_hung()
        self.lose(felt.complaint)

    def _guard(self, name: str, part: Identity) -> NoReturn:
        pidfd = process.open_pidfd(part)
        ended = "gone"
        if pidfd is not None:
            process.wait_pidfd(pidfd, None)
            ended = process.in_words(process.exit_status(part, pidfd))
        self.lose(pulse.blame(f"{self._root_of(name)} is gone: {ended}", self._pulses))

    def _root_of(self, name: str) -> str:
        """The part whose death took ``name`` with it, or ``name`` itself.

        Parts are watched parents first, and the kernel kills the children when a parent dies:
        their guards wake up together, in any order.
        """
        for earlier, part in self._vital:
            if earlier == name or process.identify(part.pid) != part:
                return earlier
        return name

    # --- orders -----------------------------------------------------------------------------

    def obey(self, order: wire.Order) -> None:
        """Carry out one order of the daemon."""
        match order:
            case wire.StartOrder(job):
                self.start(job)
            case wire.CommandOrder(command):
                self._socket.send(command)
            case wire.KillOrder(request, why):
                self.kill(why)
                self._reporter.say(wire.Answer(request))
            case wire.ShutdownOrder():
                self.end(0)

    def start(self, job: Job) -> None:
        """Begin an attempt; refused while another trainer runs."""
        with self._lock:
            if self._launcher is None:
                self._waiting.append(job)
                return
            busy = self._life
            if busy is None:
                self._life = self._begin(self._launcher, job)
        if busy is not None:
            cause = f"refused: the trainer of attempt {busy.job.attempt} still runs"
            self._reporter.say(TrainerExited(job.attempt, cause))
            return
        assert self._life is not None
        self._life.thread.start()

    def _begin(self, launcher: Launcher, job: Job) -> Life:
        full = dataclasses.replace(job, socket=str(self._place.socket), guardians=self._guardians)
        ticket = Ticket(self._spawned)
        thread = threading.Thread(
            target=self._live, args=(launcher, full, ticket), name="trainer-life", daemon=True
        )
        return Life(full, ticket, thread)

    def _spawned(self, identity: Identity) -> None:
        life = self._life
        assert life is not None
        life.process = identity
        self._socket.expect(life.job.attempt, identity.pid)
        self._reporter.say(wire.Spawned(life.job.attempt, identity))

    def _live(self, launcher: Launcher, job: Job, ticket: Ticket) -> None:
        self._end_writer(job)
        try:
            cause = launcher.run(job, ticket)
        except LaunchError as error:
            self.lose(str(error))
        except Exception as error:
            cause = f"could not be started: {type(error).__name__}: {error}"
        # what the trainer had started goes with it
        left = sweep.sweep(self._mark, self._clock, KILL_SECONDS, self._not_the_trainers)
        self._socket.finish(_DRAIN_SECONDS)
        if left:
            self.lose(f"processes of the trainer cannot be killed: {_pids(left)}")
        if self._vital_part_died():
            return  # its guard tells the daemon
        with self._lock:
            why = self._life.why if self._life else ""
            self._life = None
            self._reporter.say(TrainerExited(job.attempt, why or cause))

    def _vital_part_died(self) -> bool:
        for _, part in self._vital:
            pidfd = process.open_pidfd(part)
            if pidfd is None:
                return True
            try:
                if process.wait_pidfd(pidfd, _VITAL_SECONDS / len(self._vital)):
                    return True
            finally:
                os.close(pidfd)
        return False

    def kill(self, why: str) -> None:
        """Kill the trainer and all that it started, and wait; nothing to do when there is none."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            life = self._life
        for job in waiting:
            self._reporter.say(TrainerExited(job.attempt, why))
        if life is None:
            return
        life.why = life.why or why
        life.ticket.cancel()
        deadline = self._clock.monotonic() + KILL_SECONDS
        while life.thread.is_alive() and self._clock.monotonic() < deadline:
            sweep.sweep(self._mark, self._clock, _ROUND_SECONDS, self._not_the_trainers)
            life.thread.join(_ROUND_SECONDS)
        if life.thread.is_alive():
            self.lose(f"the trainer could not be killed ({why})")

    def _not_the_trainers(self) -> frozenset[Identity]:
        """The engine's own processes, and the writer, which may finish what it is at.

        All others below are the trainer's.
        """
        life, launcher = self._life, self._launcher
        trainer = life.process if life else None
        spared = self._baseline | (launcher.own_processes(trainer) if launcher else set())
        writer = _writer_of(life.job) if life else None
        return spared | {writer} if writer else spared

    def _end_writer(self, job: Job) -> None:
        """Nobody of an earlier attempt may write beside the one that begins."""
        writer = _writer_of(job)
        if writer is not None and writer.pid in self._mark.members():
            process.kill_and_wait({writer}, self._clock, KILL_SECONDS)

    def _relay(self, attempt: int, event: Event) -> None:
        self._reporter.say(TrainerEvent(attempt, event))

    # --- the end ----------------------------------------------------------------------------

    def lose(self, cause: str) -> NoReturn:
        """Report that the engine is lost and end; does not return."""
        self._reporter.say(wire.Losing(cause), last=True)
        self.end(EXIT_LOST)

    def end(self, code: int) -> NoReturn:
        """Kill everything below, wait until it is gone, end this process."""
        # what dies now is no news
        self._reporter.mute()
        # the first caller ends the process; the others wait for that here
        self._ending.acquire()
        left = sweep.sweep(self._mark, self._clock, _TEARDOWN_SECONDS)
        if left:
            sys.stderr.write(f"engine: could not kill {_pids(left)}\n")
            sys.stderr.flush()
        self._place.socket.unlink(missing_ok=True)
        os._exit(code)


def listen(fd: int, obey: Callable[[wire.Order], None], gone: Callable[[], None]) -> None:
    """Read orders until the daemon is gone."""
    lines = wire.Lines()
    try:
        while data := os.read(fd, _CHUNK_BYTES):
            for line in lines.feed(data):
                obey(wire.decode_order(line))
    except (OSError, ProtocolError) as error:
        sys.stderr.write(f"engine: the line to the daemon broke: {error}\n")
    gone()


def _writer_of(job: Job) -> Identity | None:
    """The process that writes checkpoints of the run, its trainer alive or not."""
    pid = catalog.writer_pid(Path(job.run_dir))
    return process.identify(pid) if pid else None


def _pids(identities: set[Identity]) -> str:
    return ", ".join(str(item.pid) for item in sorted(identities, key=lambda item: item.pid))


def launcher_of(kind: str, place: Place, host: Host, clock: Clock) -> Launcher:
    """Ray or local; for Ray its head is started on the way."""
    if kind == "local":
        from orchestrator.engine.local_launcher import LocalLauncher

        return LocalLauncher(place)
    from orchestrator.engine.ray_head import RayHead, environment

    head = RayHead(place, clock)
    host.watch("ray_start", head.start())
    # ray reads its settings when it is imported, and this process is its driver
    settings = environment(os.environ, head.token_file)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ.update(settings)
    from orchestrator.engine.ray_launcher import RayLauncher

    return RayLauncher(place, head)


def take_the_lines() -> tuple[int, int]:
    """Move stdin and stdout out of reach of libraries and children that read and print."""
    orders, reports = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return orders, reports


def share_fate(daemon: Identity) -> None:
    """Tie this process to the daemon, also when it is stopped by a signal."""
    process.become_subreaper()
    # end-of-file on stdin ends a host that runs; one that was stopped must run again to see it
    process.signal_on_parent_death(signal.SIGCONT)
    if os.getppid() != daemon.pid:
        sys.exit("engine: the daemon is gone already")


def be_first_to_go() -> None:
    """When memory runs out, the kernel takes the trainer: it resumes exactly, others cannot.

    Neither the daemon above, which its unit protects, nor what a person has open on the desktop.
    """
    score = Path("/proc/self/oom_score_adj")
    try:
        if int(score.read_text(encoding="ascii")) < _OOM_SCORE:
            score.write_text(str(_OOM_SCORE), encoding="ascii")
    except (OSError, ValueError):
        return


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="orchestrator.engine.host")
    parser.add_argument("--kind", choices=("ray", "local"), required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("--worker-module", default=Place.worker_module)
    parser.add_argument("--object-store-bytes", type=int, default=Place.object_store_bytes)
    parser.add_argument("--hung-after-seconds", type=float, required=True)
    parser.add_argument("--start-seconds", type=float, required=True)
    parser.add_argument("--daemon-pid", type=int, required=True)
    parser.add_argument("--daemon-start-ticks", type=int, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """The engine process; ends only through ``Host.end``."""
    options = _parse(arguments)
    daemon = Identity(options.daemon_pid, options.daemon_start_ticks)
    share_fate(daemon)
    be_first_to_go()
    orders, reports = take_the_lines()
    clock = SystemClock()
    place = Place(
        options.state_dir,
        options.runtime_dir,
        options.worker_module,
        options.object_store_bytes,
        Patience(options.hung_after_seconds, options.start_seconds),
    )
    mark = sweep.Mark(os.environ[sweep.MARKER], process.own_identity())
    host = Host(place, daemon, mark, Reporter(reports), clock)
    reader = threading.Thread(
        target=listen, args=(orders, host.obey, lambda: host.end(0)), name="orders", daemon=True
    )
    reader.start()
    host.open(launcher_of(options.kind, place, host, clock))
    reader.join()


if __name__ == "__main__":
    main(sys.argv[1:])
