"""The trainer as a Ray actor. The only module that imports ray.

The engine process imports it after it has set Ray's environment; Ray's worker imports it for
the actor's class, so nothing of the daemon may be needed here at import.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import threading
from typing import Any

import ray

from orchestrator.engine import process
from orchestrator.engine.launcher import LaunchError, Place, Ticket, Watcher
from orchestrator.engine.process import Identity
from orchestrator.engine.ray_head import LOOPBACK, RayHead
from trainer.contract import job as jobs
from trainer.contract.job import Job

#: what Ray changes in a worker's environment and the trainer should find as the person has it
_RESTORED = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
_LEAVE_SECONDS = 2.0


class TrainerActor:
    """One trainer: ``run`` is called once, in the main thread of the worker's process."""

    def identify(self) -> tuple[int, int]:
        """Pid and start ticks of this process, which from now on dies with its raylet."""
        parent = os.getppid()
        process.signal_on_parent_death(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        own = process.own_identity()
        return own.pid, own.start_ticks

    def run(self, worker_module: str, job_json: str, restored: dict[str, str | None]) -> int:
        """Serve the job and return its exit code."""
        for name, value in restored.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        worker = importlib.import_module(worker_module)
        try:
            return int(worker.serve(jobs.from_dict(json.loads(job_json))))
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else 1


class RayLauncher:
    """Starts the head, connects as its only driver, runs one actor at a time."""

    def __init__(self, place: Place, head: RayHead) -> None:
        self._place = place
        self._head = head

    def open(self, watcher: Watcher) -> dict[str, int]:
        """See ``Launcher.open``. The head was started before; here it is waited for."""
        for name, part in self._head.wait_up(watcher).items():
            watcher.watch(name, part)
        ray.init(
            address=f"{LOOPBACK}:{self._head.port}",
            log_to_driver=False,
            configure_logging=False,
        )
        self._head.end_dashboard()
        parts = self._head.parts()
        parts.pop("dashboard", None)
        return {name: part.pid for name, part in parts.items()}

    def run(self, job: Job, ticket: Ticket) -> str:
        """See ``Launcher.run``."""
        wants_gpu = job.spec.train.device != "cpu" and self._head.gpus > 0
        if ticket.cancelled:
            return "cancelled before it was started"
        actor = self._create(gpus=1 if wants_gpu else 0)
        ticket.on_cancel(lambda: _end(actor))
        return self._follow(actor, job, ticket)

    def own_processes(self, trainer: Identity | None) -> set[Identity]:
        """Ray's workers that are not the trainer.

        One that starts up for a cancelled actor ends by itself when it is idle; killed before
        it has registered, the raylet would wait a minute for it and start no other.
        """
        raylet = self._head.parts().get("raylet")
        if raylet is None:
            return set()
        children = {
            found.identity
            for found in process.all_processes().values()
            if found.parent == raylet.pid
        }
        return children - {trainer}

    def _create(self, gpus: int) -> Any:
        # restarts and retries are the daemon's decision alone
        options = ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0, num_gpus=gpus)
        return options(TrainerActor).remote()

    def _follow(self, actor: Any, job: Job, ticket: Ticket) -> str:
        limit = self._place.patience.start_seconds
        try:
            identity = Identity(*ray.get(actor.identify.remote(), timeout=limit))
        except ray.exceptions.GetTimeoutError:
            raise LaunchError(f"Ray did not start the trainer's process in {limit:.0f} s") from None
        except Exception as error:
            _end(actor)
            return f"Ray could not start the trainer: {_first_line(error)}"
        pidfd = process.open_pidfd(identity)
        if pidfd is None:
            return "ended before it began"
        try:
            ticket.spawned(identity)
            if ticket.cancelled:
                return self._bury(actor, identity, pidfd)
            result = _Result(actor, self._place.worker_module, job)
            result.begin()
            # whatever Ray says or does not say, the end of the process counts, too
            result.wait_or(pidfd)
            ended = self._bury(actor, identity, pidfd)
            return result.verdict or ended
        finally:
            os.close(pidfd)

    def _bury(self, actor: Any, trainer: Identity, pidfd: int) -> str:
        """End the worker's process, which would stay and keep its memory; say how it ended."""
        _end(actor)
        if not process.wait_pidfd(pidfd, _LEAVE_SECONDS):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            process.wait_pidfd(pidfd, None)
        return process.in_words(process.exit_status(trainer, pidfd))


class _Result:
    """What ``TrainerActor.run`` returned, waited for in a thread of its own."""

    def __init__(self, actor: Any, worker_module: str, job: Job) -> None:
        self._actor = actor
        self._arguments = (worker_module, json.dumps(job.to_dict()))
        self._done_reader, self._done_writer = os.pipe()
        self.verdict: str | None = None

    def begin(self) -> None:
        threading.Thread(target=self._get, name="trainer-result", daemon=True).start()

    def wait_or(self, pidfd: int) -> None:
        """Return when the verdict is known or the process is gone."""
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self._done_reader, select.POLLIN)
        poller.poll()
        os.close(self._done_reader)

    def _get(self) -> None:
        restored = {name: os.environ.get(name) for name in _RESTORED}
        try:
            code = ray.get(self._actor.run.remote(*self._arguments, restored))
            self.verdict = f"exit code {code}"
        except ray.exceptions.RayTaskError as error:
            self.verdict = f"raised {_first_line(error.cause)}"
        except Exception:
            # the process died; how, its pidfd tells
            self.verdict = None
        os.close(self._done_writer)


def _end(actor: Any) -> None:
    try:
        ray.kill(actor, no_restart=True)
    except Exception:
        # Ray may be half dead; the process is killed by pidfd anyway
        return


def _first_line(error: BaseException | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
