"""The kernel takes the trainer for want of memory, and the journal says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.home.oom import FakeOom, KernelOom
from tests.unit.checkpoint.group_files import GroupFiles
from tests.unit.store.world import run_python
from tests.unit.supervisor.rig import Rig


def cause_of_the_first(rig: Rig) -> str:
    return rig.commands.attempts("month")[0].cause


@pytest.mark.parametrize("engine_too", [False, True])
def test_a_sigkill_while_the_kernel_killed_for_memory_is_told_as_that(
    rig: Rig, engine_too: bool
) -> None:
    rig.supervisor.oom = kernel = FakeOom(3)
    rig.submit()
    rig.train(0, 2)
    kernel.count = 4
    if engine_too:
        rig.engine.lose("the engine process ended: killed by SIGKILL")
        rig.settle()
    else:
        rig.die()
    assert "this machine ran out of memory" in cause_of_the_first(rig)
    told = [entry for entry in rig.commands.journal(limit=99) if entry.kind == "attempt_ended"]
    assert "ran out of memory (" in told[0].message


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [(3, 3, "killed by SIGKILL"), (3, 4, "exit code 1"), (None, None, "killed by SIGKILL")],
)
def test_no_other_end_is_blamed_on_memory(
    rig: Rig, before: int | None, after: int | None, cause: str
) -> None:
    rig.supervisor.oom = kernel = FakeOom(before)
    rig.submit()
    rig.train(0, 2)
    kernel.count = after
    rig.die(cause)
    assert cause_of_the_first(rig) == cause


def test_a_sigkill_long_after_the_kernel_took_somebody_else_is_not_blamed_on_memory(
    rig: Rig,
) -> None:
    rig.supervisor.oom = kernel = FakeOom(3)
    rig.submit()
    rig.train(0, 2)
    kernel.count = 4
    for step in range(3, 8):
        rig.pass_time(31.0)
        rig.step(step)
    rig.die()
    assert cause_of_the_first(rig) == "killed by SIGKILL"


def test_a_trainer_whose_end_is_noticed_late_is_still_told_as_out_of_memory(rig: Rig) -> None:
    rig.supervisor.oom = kernel = FakeOom(3)
    rig.submit()
    rig.train(0, 2)
    rig.pass_time(29.0)
    kernel.count = 4
    rig.pass_time(2.0)  # a look falls between the kill and its news: gigabytes are freed slowly
    rig.pass_time(20.0)
    rig.die()
    assert "this machine ran out of memory" in cause_of_the_first(rig)


def test_what_the_kernel_counts_is_read_and_what_it_does_not_tell_is_unknown(
    tmp_path: Path,
) -> None:
    statistics, groups = tmp_path / "vmstat", GroupFiles(tmp_path).files
    assert KernelOom(statistics, groups).kills() is None
    statistics.write_text("pgfault 1\noom_kill 12\n", encoding="ascii")
    assert KernelOom(statistics, groups).kills() == 12
    statistics.write_text("pgfault 1\n", encoding="ascii")
    assert KernelOom(statistics, groups).kills() is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_browser_that_is_killed_meanwhile_takes_no_blame_for_our_trainer(
    tmp_path: Path, version: int
) -> None:
    statistics = tmp_path / "vmstat"
    statistics.write_text("oom_kill 12\n", encoding="ascii")
    groups = GroupFiles(tmp_path)
    groups.v1("/ours") if version == 1 else groups.v2("/ours")
    name = "oom_control" if version == 1 else "events"
    groups.write("ours", **{name: "under_oom 0\noom_kill 2"})
    kernel = KernelOom(statistics, groups.files)
    assert kernel.kills() == 2
    statistics.write_text("oom_kill 13\n", encoding="ascii")
    assert kernel.kills() == 2
    groups.write("ours", **{name: "under_oom 0\noom_kill 3"})
    assert kernel.kills() == 3
    groups.write("ours", **{name: "rubbish"})
    # never the machine's count after all: it would look like ten kills at once
    assert kernel.kills() is None


def test_the_engine_and_all_below_it_go_before_the_daemon() -> None:
    code = (
        "import pathlib; from orchestrator.engine.host import be_first_to_go as go; go();"
        "print(pathlib.Path('/proc/self/oom_score_adj').read_text())"
    )
    done = run_python(code)
    assert int(done.stdout) >= 300, done.stderr
