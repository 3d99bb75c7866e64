"""One real save, seen from outside: the kernel got the calls in the order that we promise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.powercut import tracing
from tests.powercut.audit import violations
from tests.powercut.tracing import Call, without

_SAVE = """
import os, sys
from pathlib import Path
from tests.unit.checkpoint.rig import save_step
from trainer.checkpoint.lease import Lease

with Lease.take(Path(sys.argv[1]), 1) as lease:
    for step in (1, 2):
        entry = save_step(Path(sys.argv[1]), step, lease, chunk_bytes=64)
        os.write(1, f"mark saved {entry.name}\\n".encode())
"""


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Call], Path]:
    """The calls of two saves in a process of its own, and where the checkpoints are."""
    tracing.require()
    run_dir = tmp_path_factory.mktemp("audit") / "run"
    run_dir.mkdir()
    calls = tracing.record([sys.executable, "-c", _SAVE, str(run_dir)], run_dir)
    return calls, run_dir / "checkpoints"


def test_a_real_save_syncs_everything_before_it_tells_anybody(
    saves: tuple[list[Call], Path],
) -> None:
    calls, checkpoints = saves
    assert [call.kind for call in calls].count("mark") == 2
    assert violations(calls, checkpoints) == []


def test_the_bytes_that_strace_saw_are_those_on_the_disk(saves: tuple[list[Call], Path]) -> None:
    calls, checkpoints = saves
    written: dict[str, bytes] = {}
    for call in calls:
        if call.kind == "write" and call.path.suffix == ".safetensors":
            name = f"{call.path.parent.name.removeprefix('tmp-')}/{call.path.name}"
            assert call.offset == len(written.get(name, b""))
            written[name] = written.get(name, b"") + call.data
    assert len(written) == 4
    for name, content in written.items():
        assert (checkpoints / f"gen-{name}").read_bytes() == content


def ends(text: str) -> Callable[[Call], bool]:
    return lambda call: call.kind == "sync" and call.path.name.endswith(text)


@pytest.mark.parametrize(
    ("forgotten", "expected"),
    [
        (ends("model.safetensors"), "model.safetensors is renamed with bytes that nobody synced"),
        (ends("MANIFEST"), "MANIFEST is renamed with bytes that nobody synced"),
        (
            lambda call: call.kind == "sync" and call.path.name.startswith("tmp-"),
            "the names in the temporary directory are not synced",
        ),
        (ends("checkpoints"), "before the directory of checkpoints was synced"),
        (
            lambda call: call.kind == "create" and call.path.name == "MANIFEST",
            "there is no manifest",
        ),
        (lambda call: call.kind == "rename", "nothing was committed"),
    ],
)
def test_the_audit_notices_what_is_missing(
    saves: tuple[list[Call], Path], forgotten: Callable[[Call], bool], expected: str
) -> None:
    calls, checkpoints = saves
    found = violations(without(calls, forgotten), checkpoints)
    assert any(expected in text for text in found), found


def test_the_audit_notices_a_sync_before_the_last_byte(saves: tuple[list[Call], Path]) -> None:
    """The mistake that others make: the file object still holds the bytes when it is synced."""
    calls, checkpoints = saves
    last = max(
        at for at, call in enumerate(calls) if call.kind == "sync" and call.path.name == "MANIFEST"
    )
    early = [*calls[: last - 1], calls[last], calls[last - 1], *calls[last + 1 :]]
    assert violations(early, checkpoints) == ["MANIFEST is renamed with bytes that nobody synced"]
