"""A stand-in daemon that tests can kill: opens an engine, starts a puppet, says which pids.

``python -m tests.unit.engine.daemon KIND STATE_DIR RUNTIME_DIR [--only-open]``
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from pathlib import Path

from orchestrator.engine.base import EngineReady, Note, TrainerEvent
from orchestrator.engine.client import EngineClient
from orchestrator.home.clock import SystemClock
from tests.unit.engine.harness import PUPPET
from trainer.contract.job import Job
from trainer.contract.messages import Hello
from trainer.contract.spec import RunSpec


def main(kind: str, state_dir: Path, runtime_dir: Path, only_open: bool) -> None:
    inbox: queue.Queue[Note] = queue.Queue()
    client = EngineClient(
        kind, state_dir, runtime_dir, inbox.put, SystemClock(), worker_module=PUPPET
    )
    client.open()
    if only_open:
        print("{}", flush=True)
        threading.Event().wait()
    pids: dict[str, int] = {}
    while "trainer" not in pids:
        match inbox.get(timeout=60):
            case EngineReady(found):
                pids.update(found)
                spec = RunSpec("puppet")
                client.start(Job(spec, 1, str(state_dir / "run"), str(state_dir / "data")))
            case TrainerEvent(_, Hello(pid=pid)):
                pids["trainer"] = pid
    print(json.dumps(pids), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), "--only-open" in sys.argv)
