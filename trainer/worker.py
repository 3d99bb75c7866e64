"""The trainer under a supervisor: one job, one line to the engine, one life.

A Ray actor calls ``serve`` in its main thread; ``python -m trainer.worker`` reads the job as one
JSON line on standard input. PyTorch is imported only after Hello has been said and the lifeline
holds, since that takes seconds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from trainer import log, wording
from trainer.clock import SystemClock
from trainer.contract import job as jobs
from trainer.contract.job import Job
from trainer.contract.messages import Command, Event, Failed, Finished, Hello, Stop, Stopped
from trainer.lifeline import Lifeline
from trainer.openmp import share_the_cores
from trainer.sockets import SocketLink

#: a reader that takes longer for the last events than this is gone
_FLUSH_SECONDS = 10.0
_EXIT_USAGE = 78


def serve(job: Job) -> int:
    """Live one attempt under the engine that listens at ``job.socket``; the exit code.

    Raises:
        OSError: nobody listens there, or the log cannot be written.
    """
    clock = SystemClock()
    with log.redirected(Path(job.run_dir), clock) as lines:
        faulthandler.enable(2)
        hello = Hello(job.spec.name, job.attempt, os.getpid())
        lines.line(wording.line(hello))
        link = SocketLink(job.socket, hello)
        lifeline = Lifeline(job.guardians)
        lifeline.start(link.fileno())
        try:
            with _signals(link):
                return _train(job, _Line(link, lifeline, lines), clock)
        finally:
            lifeline.let_go_of_socket()
            link.flush(_FLUSH_SECONDS)
            link.close()


def _train(job: Job, link: _Line, clock: SystemClock) -> int:
    # here and not above: see the module's text
    share_the_cores()
    from trainer import loop

    return loop.train(job, link, clock)


class _Line:
    """The socket, with every event also in the log, and the lifeline untied before the last one.

    The engine may close the line as soon as it has read how the attempt ended.
    """

    def __init__(self, link: SocketLink, lifeline: Lifeline, lines: log.Log) -> None:
        self._link = link
        self._lifeline = lifeline
        self._lines = lines
        self.poll = link.poll
        self.wait = link.wait

    def send(self, event: Event) -> None:
        if text := wording.line(event):
            self._lines.line(text)
        if isinstance(event, Finished | Stopped | Failed):
            self._lifeline.let_go_of_socket()
        self._link.send(event)


@contextlib.contextmanager
def _signals(link: SocketLink) -> Iterator[None]:
    """SIGTERM is a Stop; SIGINT, which a terminal sends to everybody, is left to the daemon."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        command: Command = Stop()
        link.inject(command)

    before = (signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def main() -> int:
    """Serve the job that stands as one JSON line on standard input."""
    text = sys.stdin.readline()
    try:
        job = jobs.from_dict(json.loads(text))
    except Exception as error:
        sys.stderr.write(f"trainer.worker: no job on standard input: {error}\n")
        return _EXIT_USAGE
    return serve(job)


if __name__ == "__main__":
    sys.exit(main())
