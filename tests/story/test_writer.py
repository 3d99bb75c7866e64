"""The process that writes checkpoints: it outlives its trainer, and never the daemon."""

from __future__ import annotations

import os
import signal

import psutil

from tests.story.house import House, trainer_pid, wait_for
from trainer.checkpoint import catalog, lease

LONG = 1_000_000


def test_the_writer_outlives_its_trainer_and_not_the_daemon(house: House) -> None:
    house.start()
    house.submit(steps=LONG, writer="process", every_seconds="0.2")
    run_dir = house.run_dir()
    house.wait_status("a checkpoint", lambda s: s["run"] and s["run"]["checkpoint"])

    # stopped, it is in the middle of something when its trainer dies
    writer = psutil.Process(wait_for("a writer", lambda: lease.writer_pid(run_dir)))
    os.kill(writer.pid, signal.SIGSTOP)
    before = house.wait_status("a trainer", trainer_pid)
    saved, attempt = before["run"]["checkpoint"]["step"], before["run"]["attempt"]
    os.kill(before["run"]["trainer_pid"], signal.SIGKILL)
    wait_for("the death to be noticed", lambda: ended(house, attempt))
    assert writer.status() == psutil.STATUS_STOPPED, "it is left to finish"
    assert len(house.run_record()["attempts"]) == 1, "nobody begins beside it"

    os.kill(writer.pid, signal.SIGCONT)
    after = house.wait_status(
        "the next attempt",
        lambda s: s["run"]["attempt"] and s["run"]["attempt"] > attempt and trainer_pid(s),
    )
    assert lease.writer_pid(run_dir) != writer.pid
    resumed = wait_for(
        "its first word",
        lambda: [e for e in house.journal() if e["kind"] == "resumed"],
    )
    assert resumed[0]["data"]["step"] >= saved
    assert all(catalog.verify(entry.path).ok for entry in catalog.list_checkpoints(run_dir)[-3:])

    # hung, it goes with the daemon all the same
    assert trainer_pid(after) is not None
    second = wait_for("a second writer", lambda: lease.writer_pid(run_dir))
    os.kill(second, signal.SIGSTOP)
    house.kill()
    house.wait_gone(10.0)
    assert not lease.is_writing(run_dir)


def ended(house: House, attempt: int) -> bool:
    attempts = house.run_record()["attempts"]
    return any(item["number"] == attempt and item["end"] for item in attempts)
