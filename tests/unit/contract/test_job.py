"""A job: one attempt as the supervisor orders it."""

from __future__ import annotations

import json

import pytest

from trainer.contract import job, toml
from trainer.contract.job import Guardian, Job
from trainer.contract.spec import RunSpec, TrainSpec

JOB = Job(
    spec=RunSpec(name="x", train=TrainSpec(steps=5)),
    attempt=3,
    run_dir="/runs/x",
    data_dir="/data",
    socket="/run/engine.sock",
    guardians=(Guardian(pid=10, start_ticks=999), Guardian(pid=11, start_ticks=1000)),
)


def test_job_survives_the_way_through_json() -> None:
    assert job.from_dict(json.loads(json.dumps(JOB.to_dict()))) == JOB


def test_job_without_guardians_and_socket_survives_too() -> None:
    alone = Job(RunSpec(name="x"), 1, "/runs/x", "/data")
    assert job.from_dict(json.loads(json.dumps(alone.to_dict()))) == alone


def test_job_with_a_wrong_spec_is_refused() -> None:
    plain = JOB.to_dict()
    plain["spec"]["train"]["steps"] = -1
    with pytest.raises(toml.InvalidFileError, match=r"train\.steps"):
        job.from_dict(plain)


@pytest.mark.parametrize("key", ["spec", "attempt", "run_dir", "data_dir", "socket", "guardians"])
def test_job_with_a_part_missing_is_refused(key: str) -> None:
    plain = JOB.to_dict()
    del plain[key]
    with pytest.raises(KeyError, match=key):
        job.from_dict(plain)
