"""Lives of the trainer in quick succession: a process that loads PyTorch once and then forks.

Reads one JSON line for each life: the job, and after how many seconds it is killed. Answers with
one line: the exit code, or the negative signal.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys

from tests.unit.loop.support import Puppeteer
from trainer import loop, moments
from trainer.clock import SystemClock
from trainer.contract import job as jobs


def live(order: dict[str, object]) -> int:
    job = jobs.from_dict(order["job"])  # type: ignore[arg-type] # our own line
    if job.spec.train.precision not in ("fp32", "bf16"):
        moments.functional()  # once here, rather than in every life
    child = os.fork()
    if child == 0:
        os._exit(loop.train(job, Puppeteer(), SystemClock()))
    handle = os.pidfd_open(child)
    select.select([handle], [], [], float(str(order["seconds"])))
    os.kill(child, signal.SIGKILL)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    for line in sys.stdin:
        print(live(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
