"""EngineClient: the daemon's side of the engine process. Imports neither ray nor torch."""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

from orchestrator.engine import process, pulse, sweep, wire
from orchestrator.engine.base import EngineLost, EngineReady, Notify, TrainerEvent, TrainerExited
from orchestrator.engine.launcher import Place
from orchestrator.engine.log import BoundedLog
from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import Patience
from orchestrator.home.clock import Clock
from trainer.contract.job import Job
from trainer.contract.messages import Command, ProtocolError

_REPORTS_PER_LOG_CHECK = 1000
_WRITE_SECONDS = 1.0
_SWEEP_SECONDS = 10.0
_CHUNK_BYTES = 1 << 16


class EngineClient:
    """Starts the engine process, talks to it, and is rid of all of it when it is lost.

    Notes come from a thread of the client's own. ``kill`` and ``shutdown`` wait for that
    thread, so they must not be called from within the notify callback.
    """

    def __init__(
        self,
        kind: str,
        state_dir: Path,
        runtime_dir: Path,
        notify: Notify,
        clock: Clock,
        *,
        worker_module: str = Place.worker_module,
        object_store_bytes: int = Place.object_store_bytes,
        answer_seconds: float = 3.0,
        patience: Patience = Place.patience,
    ) -> None:
        """Nothing is started yet.

        Args:
            kind: "ray" or "local".
            state_dir: holds engine.log and engine.json; names this daemon's processes.
            runtime_dir: short and private, see ``process.runtime_dir``.
            answer_seconds: how long a kill may take before the engine itself is killed.
            patience: how long the engine process and parts of Ray may be silent.

        Raises:
            Misconfigured: ``runtime_dir`` is too long for Unix sockets.
        """
        process.check_length(runtime_dir)
        self._kind = kind
        self._place = Place(state_dir, runtime_dir, worker_module, object_store_bytes, patience)
        self._notify = notify
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._session: _Session | None = None

    def open(self) -> None:
        """Begin to start the engine process; EngineReady or EngineLost follows.

        Processes that an earlier engine of this state directory left behind are killed first.
        """
        if self._session is not None and self._session.lives():
            return
        process.become_subreaper()
        self._sweep_leftovers()
        try:
            session = _Session(self._kind, self._place, self._notify, self._clock)
        except OSError as error:
            self._notify(EngineLost(f"the engine process cannot be started: {error}"))
            return
        self._session = session
        session.begin()

    def start(self, job: Job) -> None:
        """Begin an attempt; TrainerEvent(Hello) or TrainerExited follows, or EngineLost."""
        session = self._session
        if session is None or not session.order(wire.StartOrder(job), attempt=job.attempt):
            self._notify(TrainerExited(job.attempt, "there is no engine to start it"))

    def command(self, command: Command) -> None:
        """Pass a command to the trainer; lost silently when there is none."""
        if self._session is not None:
            self._session.order(wire.CommandOrder(command))

    def kill(self, why: str) -> None:
        """Kill the trainer and wait until it is gone; TrainerExited follows with ``why``.

        An engine that does not answer in time is killed with all that it started; then
        EngineLost follows, too.
        """
        if self._session is not None:
            self._session.kill(why, self._answer_seconds)

    def shutdown(self) -> None:
        """End the trainer, Ray and the engine process, and wait until all are gone."""
        session, self._session = self._session, None
        if session is not None:
            session.shutdown(self._answer_seconds)

    def _sweep_leftovers(self) -> None:
        record = sweep.Record(_record_path(self._place))
        mark = sweep.Mark(process.state_hash(self._place.state_dir) + "-", known=record.read())
        sweep.sweep(mark, self._clock, _SWEEP_SECONDS)


class _Session:
    """One life of the engine process."""

    def __init__(self, kind: str, place: Place, notify: Notify, clock: Clock) -> None:
        self._place = place
        self._notify = notify
        self._clock = clock
        self._engine_id = sweep.new_engine_id(place.state_dir)
        self._log = BoundedLog(place.state_dir / "engine.log")
        self._child = self._spawn(kind)
        self._host = process.identify(self._child.pid) or Identity(self._child.pid, 0)
        self._pidfd = os.pidfd_open(self._child.pid)
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        self._known = {self._host}
        self._record = sweep.Record(_record_path(place))
        self._record.write(self._known)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._write_lock = threading.Lock()
        self._requests = itertools.count(1)
        self._answers: dict[int, threading.Event] = {}
        self._running: int | None = None
        self._kill_reason = ""
        self._closing = False
        self._ready = False
        self._cause = ""
        self._reports = 0

    def begin(self) -> None:
        """Begin to pass notes on."""
        self._thread.start()

    def lives(self) -> bool:
        """Whether EngineLost is still to come."""
        return self._thread.is_alive()

    # --- down -------------------------------------------------------------------------------

    def order(self, order: wire.Order, attempt: int | None = None) -> bool:
        """Write an order; False when the engine is gone or does not read."""
        if attempt is not None:
            self._running = attempt
        if self.lives() and self._write(wire.encode_order(order)):
            return True
        if attempt is not None:
            self._running = None
        return False

    def kill(self, why: str, answer_seconds: float) -> None:
        """See ``EngineClient.kill``."""
        answered = threading.Event()
        request = next(self._requests)
        self._answers[request] = answered
        written = self.order(wire.KillOrder(request, why))
        if not (written and answered.wait(answer_seconds)) and self.lives():
            self._kill_reason = why
            self._kill_host(f"the engine did not answer for {answer_seconds:.0f} s")
            self._thread.join()
        self._answers.pop(request, None)

    def shutdown(self, answer_seconds: float) -> None:
        """See ``EngineClient.shutdown``."""
        self._closing = True
        self._write(wire.encode_order(wire.ShutdownOrder()))
        self._thread.join(answer_seconds)
        if self._thread.is_alive():
            self._kill_host("shut down")
            self._thread.join()

    def _write(self, data: bytes) -> bool:
        """Write without ever blocking on a host that does not read."""
        assert self._child.stdin is not None
        rest = memoryview(data)
        with self._write_lock:
            poller = select.poll()
            try:
                poller.register(self._child.stdin, select.POLLOUT)
                while rest:
                    if not poller.poll(_WRITE_SECONDS * 1000):
                        self._kill_host("the engine does not read its orders")
                        return False
                    rest = rest[os.write(self._child.stdin.fileno(), rest) :]
            except (OSError, ValueError):
                return False
        return True

    def _kill_host(self, cause: str) -> None:
        self._cause = self._cause or cause
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except OSError:
            return  # it died meanwhile

    # --- up ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._read()
        except (OSError, ProtocolError) as error:
            self._kill_host(f"the line to the engine broke: {error}")
        left = self._clean_up()
        for answered in list(self._answers.values()):
            answered.set()
        if self._kill_reason and self._running is not None:
            self._notify(TrainerExited(self._running, self._kill_reason))
        if not self._closing:
            pids = ", ".join(str(item.pid) for item in left)
            survivors = f"; could not be killed: {pids}" if pids else ""
            self._notify(EngineLost(self._cause + survivors))

    def _read(self) -> None:
        """Pass notes on until the host is gone; a child of it may hold the pipe open longer."""
        assert self._child.stdout is not None
        fd = self._child.stdout.fileno()
        os.set_blocking(fd, False)
        lines = wire.Lines()
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.register(self._pidfd, select.POLLIN)
        period = self._place.patience.period_seconds
        quiet = 0
        while True:
            # counted by waits and not by the clock: what was stopped with its engine must not
            # find, when both run again, that the engine has been silent for long
            ready = {item for item, _ in poller.poll(period * 1000)}
            data = _read_available(fd)
            if data:
                quiet = 0
                for line in lines.feed(data):
                    self._take(wire.decode_report(line))
            elif data == b"" or self._pidfd in ready:
                return
            else:
                quiet += 1
                self._judge_silence(quiet * period)

    def _judge_silence(self, seconds: float) -> None:
        patience = self._place.patience
        if self._ready and seconds >= patience.hung_after_seconds:
            problem = "the engine process does not answer"
        elif not self._ready and seconds >= patience.ready_seconds:
            problem = f"the engine process did not become ready in {seconds:.0f} s"
        else:
            return
        self._kill_host(f"{problem}: {pulse.state_in_words(self._host.pid)}")

    def _take(self, report: wire.Report) -> None:
        self._reports += 1
        if self._reports % _REPORTS_PER_LOG_CHECK == 0:
            self._log.bound()
        match report:
            case wire.Answer(request):
                answered = self._answers.get(request)
                if answered is not None:
                    answered.set()
            case wire.Losing(cause):
                self._cause = self._cause or cause
            case wire.Spawned(_, identity):
                self._remember([identity])
            case EngineReady(pids):
                self._ready = True
                parts = [process.identify(pid) for pid in pids.values()]
                self._remember([part for part in parts if part])
                self._notify(report)
            case TrainerExited(attempt, _):
                if attempt == self._running:
                    self._running = None
                self._notify(report)
            case TrainerEvent():
                self._notify(report)

    def _remember(self, identities: list[Identity]) -> None:
        self._known.update(identities)
        try:
            self._record.write(self._known)
        except OSError:
            return  # a full disk; the record is a help for the next start, not a need

    # --- the end ----------------------------------------------------------------------------

    def _clean_up(self) -> set[Identity]:
        """Wait for the host, kill what it left, take its exit status."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        if not process.wait_pidfd(self._pidfd, _SWEEP_SECONDS):
            self._kill_host("the engine closed its line")
            process.wait_pidfd(self._pidfd, None)
        # the host stays a zombie until the sweep is done: so its pid, which is the session's
        # number, cannot be given to somebody else
        mark = sweep.Mark(self._engine_id, self._host, frozenset(self._known))
        left = sweep.sweep(mark, self._clock, _SWEEP_SECONDS, lambda: [self._host])
        code = self._child.wait()
        with self._write_lock:
            self._child.stdin.close()
        self._child.stdout.close()
        os.close(self._pidfd)
        self._cause = self._cause or f"the engine process ended: {_in_words(code)}"
        return left

    def _spawn(self, kind: str) -> subprocess.Popen[bytes]:
        own = process.own_identity()
        place = self._place
        arguments = {
            "kind": kind,
            "state-dir": place.state_dir,
            "runtime-dir": place.runtime_dir,
            "worker-module": place.worker_module,
            "object-store-bytes": place.object_store_bytes,
            "hung-after-seconds": place.patience.hung_after_seconds,
            "start-seconds": place.patience.start_seconds,
            "daemon-pid": own.pid,
            "daemon-start-ticks": own.start_ticks,
        }
        line = [sys.executable, "-m", "orchestrator.engine.host"]
        with self._log.open() as log:
            return subprocess.Popen(
                [*line, *(f"--{name}={value}" for name, value in arguments.items())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                # Ctrl-C at the terminal is for the daemon, which then saves and shuts down
                start_new_session=True,
                env=os.environ | {sweep.MARKER: self._engine_id},
            )


def _read_available(fd: int) -> bytes | None:
    """What can be read now; None when nothing, b"" at the end."""
    try:
        return os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return None


def _in_words(code: int) -> str:
    return f"killed by {process.signal_name(-code)}" if code < 0 else f"exit code {code}"


def _record_path(place: Place) -> Path:
    return place.state_dir / "engine.json"
