from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.engine import process, sweep
from orchestrator.engine.process import Identity
from tests.unit.engine.harness import CLOCK

Sleeper = Callable[..., Identity]
#: a parent that starts a child, says its pid, and waits for its stdin to end
PARENT = (
    "import subprocess,sys;"
    "c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'],"
    "start_new_session={apart},env={{}});"
    "print(c.pid,flush=True); sys.stdin.read()"
)


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Starts processes that sleep for ten minutes."""
    children: list[subprocess.Popen[bytes]] = []

    def start(env: dict[str, str] | None = None, apart: bool = False) -> Identity:
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env=os.environ | (env or {}),
            start_new_session=apart,
        )
        children.append(child)
        found = process.identify(child.pid)
        assert found is not None
        # the new environment stands in /proc only after exec
        while process.command_line(child.pid).count("time.sleep") == 0:
            CLOCK.sleep(0.005)
        return found

    yield start
    for child in children:
        child.kill()
        child.wait()


def _alive(identity: Identity) -> bool:
    return process.identify(identity.pid) == identity


def test_what_carries_the_mark_dies_and_what_does_not_lives(sleeper: Sleeper) -> None:
    ours = sleeper({sweep.MARKER: "abcd1234-1"})
    other_engine = sleeper({sweep.MARKER: "ffff0000-1"})
    stranger = sleeper()
    assert sweep.sweep(sweep.Mark("abcd1234-"), CLOCK, 5.0) == set()
    assert not _alive(ours)
    assert _alive(other_engine)
    assert _alive(stranger)


def test_a_process_that_hides_its_environment_is_found_by_its_session(sleeper: Sleeper) -> None:
    leader = sleeper(apart=True)
    mark = sweep.Mark("no-such-mark", leader)
    assert set(mark.members()) == {leader.pid}
    # a session of the same number that is older than the leader is another one
    later = Identity(leader.pid, leader.start_ticks + 10_000)
    assert sweep.Mark("no-such-mark", later).members() == {}


def test_a_known_process_dies_with_children_that_left_session_and_environment() -> None:
    code = PARENT.format(apart=True)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = process.identify(int(parent.stdout.readline()))
        known = process.identify(parent.pid)
        assert child is not None
        assert known is not None
        sweep.sweep(sweep.Mark("none", known=frozenset({known})), CLOCK, 5.0)
        assert not _alive(child)
        assert not _alive(known)


def test_the_sweeper_and_its_ancestors_are_never_swept() -> None:
    own = process.own_identity()
    parent = process.identify(os.getppid())
    assert parent is not None
    mark = sweep.Mark("none", known=frozenset({own, parent}))
    assert own.pid not in mark.members()
    assert parent.pid not in mark.members()


def test_what_is_spared_lives_on(sleeper: Sleeper) -> None:
    spared = sleeper({sweep.MARKER: "abcd1234-1"})
    assert sweep.sweep(sweep.Mark("abcd1234-"), CLOCK, 1.0, lambda: [spared]) == set()
    assert _alive(spared)


def test_a_record_is_read_back_but_not_after_a_reboot(tmp_path: Path) -> None:
    record = sweep.Record(tmp_path / "engine.json")
    record.write([Identity(5, 6), Identity(7, 8)])
    assert record.read() == {Identity(5, 6), Identity(7, 8)}
    text = record.path.read_text().replace(sweep.boot_id(), "another-boot")
    record.path.write_text(text)
    assert record.read() == frozenset()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', '{"boot": "B", "processes": [1]}'])
def test_a_damaged_record_names_nobody(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text.replace("B", sweep.boot_id()))
    assert sweep.Record(path).read() == frozenset()


def test_a_missing_record_names_nobody(tmp_path: Path) -> None:
    assert sweep.Record(tmp_path / "engine.json").read() == frozenset()


def test_two_engines_of_one_state_directory_share_the_beginning_of_their_names(
    tmp_path: Path,
) -> None:
    one, two = sweep.new_engine_id(tmp_path), sweep.new_engine_id(tmp_path)
    assert one != two
    assert one.startswith(process.state_hash(tmp_path) + "-")
    assert two.startswith(process.state_hash(tmp_path) + "-")
