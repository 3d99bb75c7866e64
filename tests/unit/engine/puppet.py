"""A trainer on strings: speaks the protocol, trains nothing, starts in a blink.

Use it as ``worker_module``. What it does is told by the run's ``sample_prompt``, words apart by
blanks: ``exit:N``, ``raise``, ``os_exit:N``, ``child`` (starts a process that ignores
everything), ``silent`` (never connects), ``die`` (by SIGKILL), ``chatter:N`` (N heartbeats);
without an end in its script it serves commands until it is told to stop.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from trainer.contract import job as jobs
from trainer.contract import messages
from trainer.contract.job import Guardian, Job
from trainer.contract.messages import (
    Event,
    Finish,
    Heartbeat,
    Hello,
    Notice,
    Pause,
    Phase,
    Resume,
    Save,
    Saved,
    Stop,
    Stopped,
)


def serve(job: Job) -> int:
    """Play the script; returns an exit code as a trainer does."""
    script = job.spec.sample_prompt.split()
    _write_facts(job)
    if "silent" in script:
        threading.Event().wait()
    if "child" in script:
        _start_child(job)
    for guardian in job.guardians:
        threading.Thread(target=_guard, args=(guardian,), daemon=True).start()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(job.socket)
    _send(connection, Hello(job.spec.name, job.attempt, os.getpid()))
    for word in script:
        verb, _, argument = word.partition(":")
        if verb == "chatter":
            for number in range(int(argument)):
                _send(connection, Heartbeat(0, number, int(argument)))
        if verb == "exit":
            return int(argument)
        if verb == "os_exit":
            os._exit(int(argument))
        if verb == "raise":
            raise RuntimeError("the puppet tears its strings")
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
    return _obey(connection)


def _obey(connection: socket.socket) -> int:
    for line in connection.makefile("rb"):
        match messages.decode(line):
            case Pause():
                _send(connection, Phase("paused"))
            case Resume():
                _send(connection, Phase("train"))
            case Save(request):
                _send(connection, Saved(7, "gen-7", 1, 0.0, "request", request))
            case Stop():
                _send(connection, Stopped(7, "stop"))
                return 0
            case Finish():
                _send(connection, Notice("finish", "understood"))
    # its engine is gone
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def _send(connection: socket.socket, event: Event) -> None:
    connection.sendall(messages.encode(event))


def _guard(guardian: Guardian) -> None:
    import select

    poller = select.poll()
    poller.register(os.pidfd_open(guardian.pid), select.POLLIN)
    poller.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _write_facts(job: Job) -> None:
    """What a test wants to know about the process that it cannot see from outside."""
    facts = {
        "pid": os.getpid(),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "nice": os.nice(0),
        "oom_score_adj": Path("/proc/self/oom_score_adj").read_text().strip(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "guardians": [guardian.pid for guardian in job.guardians],
    }
    path = Path(job.run_dir) / "facts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(facts))
    beside.replace(path)


def _start_child(job: Job) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    (Path(job.run_dir) / "child.pid").write_text(str(child.pid))


if __name__ == "__main__":
    sys.exit(serve(jobs.from_dict(json.loads(sys.stdin.readline()))))
