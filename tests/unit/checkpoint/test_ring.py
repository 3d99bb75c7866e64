"""The ring: a state passes through a few chunks of memory, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.checkpoint.plain import CREATED, ROOT
from tests.unit.checkpoint.rig import StillClock, same, save_step, state
from trainer.checkpoint import catalog, ring, snapshot
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.commit import SaveError
from trainer.checkpoint.disk import REAL, Disk, FaultyDisk, Operation, RecordingDisk
from trainer.checkpoint.format import FileRecord, Manifest
from trainer.checkpoint.lease import Fenced, Lease, WriterLock, raise_fence
from trainer.checkpoint.reader import load
from trainer.checkpoint.ring import Inlet, Outlet, Place
from trainer.checkpoint.scribe import Mandate, Scribe

CHUNK = 4096
CHUNKS = 3
PATIENCE_SECONDS = 30.0
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _small_chunks(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "CHUNK_BYTES", CHUNK)
    run_dir.mkdir()


def manifest(step: int) -> Manifest:
    return Manifest("toy", step, 1, CREATED, "schedule", "gen-before", "cafe", meta={"micro": step})


def large(step: int) -> dict[str, dict[str, Tensor]]:
    """Many times the ring, in tensors that end anywhere in a chunk, and one without numbers."""
    files = state(step)
    generator = torch.Generator().manual_seed(step)
    for index, count in enumerate((0, 1, 1023, 1024, 1025, 20_011)):
        files["model"][f"w{index}"] = torch.randn(count, generator=generator)
    files["optimizer"]["m8"] = torch.randint(
        0, 255, (CHUNK * 5,), dtype=torch.uint8, generator=generator
    )
    return files


class Writer:
    """The scribe's end, on a thread of this process."""

    def __init__(self, run_dir: Path, place: Place, disk: Disk = REAL) -> None:
        self._lock = WriterLock(run_dir, 1)
        # as a process has descriptors of its own
        memory, channel = os.dup(place.memory), os.dup(place.channel)
        self._place = Place(memory, channel, place.chunks, place.chunk_bytes)
        self._disk = disk
        self._result: Entry | SaveError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = Scribe(self._lock, disk=self._disk).stream(self._place)
        except SaveError as error:
            self._result = error

    def result(self) -> Entry | SaveError:
        self._thread.join(PATIENCE_SECONDS)
        self._lock.release()
        assert self._result is not None
        return self._result

    def entry(self) -> Entry:
        result = self.result()
        assert isinstance(result, Entry), result
        return result

    def failure(self) -> SaveError:
        result = self.result()
        assert isinstance(result, SaveError)
        return result


@pytest.fixture
def inlet(run_dir: Path) -> Iterator[Inlet]:
    inlet = Inlet(CHUNKS * CHUNK)
    yield inlet
    inlet.close()


def writing(run_dir: Path, inlet: Inlet, disk: Disk = REAL) -> Writer:
    writer = Writer(run_dir, inlet.place, disk)
    inlet.handed_over()
    return writer


def hashes(entry: Entry) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in entry.path.glob("*.safetensors")
    }


def test_what_comes_through_is_to_the_byte_what_the_trainer_would_have_written(
    run_dir: Path, inlet: Inlet, tmp_path: Path
) -> None:
    writer = writing(run_dir, inlet)
    snapshot.send(inlet, large(3), manifest(3))
    inlet.close()
    entry = writer.entry()
    with Lease.take(tmp_path / "other", 1) as lease:
        expected = save_step(tmp_path / "other", 3, lease, files=large(3))
    assert hashes(entry) == hashes(expected)
    assert entry.manifest.files == expected.manifest.files
    assert (entry.manifest.reason, entry.manifest.parent) == ("schedule", "gen-before")
    assert catalog.verify(entry.path).ok
    assert same(load(entry).files, large(3))


def test_the_disk_gets_the_calls_of_every_other_save_in_their_order(
    run_dir: Path, inlet: Inlet, tmp_path: Path
) -> None:
    by_ring, by_trainer = RecordingDisk(), RecordingDisk()
    writer = writing(run_dir, inlet, by_ring)
    snapshot.send(inlet, large(3), manifest(3))
    writer.entry()
    with Lease.take(tmp_path / "other", 1) as lease:
        save_step(tmp_path / "other", 3, lease, files=large(3), disk=by_trainer)
    assert calls(by_ring) == calls(by_trainer)
    assert calls(by_ring)[-2:] == ["rename", "fsync_dir"]


def calls(disk: RecordingDisk) -> list[str]:
    """The kinds of the changes, writes in a row as one."""
    kinds = [operation.kind for operation in disk.log]
    return [
        kind
        for before, kind in zip(["", *kinds], kinds, strict=False)
        if (before, kind) != ("write", "write")
    ]


def test_the_memory_never_exceeds_the_ring_however_slow_the_disk(
    run_dir: Path, inlet: Inlet
) -> None:
    memory = os.dup(inlet.place.memory)
    may_write = threading.Event()
    taken: list[int] = []

    def fault(operation: Operation) -> int:
        if operation.kind == "write":
            assert may_write.wait(PATIENCE_SECONDS)
        return 0

    files = large(3)
    writer = writing(run_dir, inlet, FaultyDisk(fault))
    sender = threading.Thread(target=snapshot.send, args=(inlet, files, manifest(3)))
    sender.start()
    # what the ring takes, and what the writer holds in its hand, while the disk does nothing
    watch(lambda: os.fstat(memory).st_blocks * 512 == CHUNKS * CHUNK)
    assert sender.is_alive(), "the state is larger, the rest of it waits"
    may_write.set()
    while sender.is_alive():
        taken.append(os.fstat(memory).st_blocks * 512)
        sender.join(0.001)
    assert writer.entry().step == 3
    assert max(taken) <= CHUNKS * CHUNK
    with pytest.raises(PermissionError):
        os.ftruncate(memory, CHUNKS * CHUNK + 1)
    with pytest.raises(PermissionError):
        os.pwrite(memory, b"x", CHUNKS * CHUNK)
    os.close(memory)


def watch(holds: Callable[[], bool]) -> None:
    """Wait until it does."""
    clock, pause = StillClock(), threading.Event()
    while not holds():
        pause.wait(0.001)
        clock.sleep(0.001)
        assert clock.monotonic() < 100.0 + PATIENCE_SECONDS


@pytest.mark.parametrize("chunks", [0, 1, CHUNKS, 9])
def test_a_trainer_that_leaves_in_the_middle_leaves_nothing_on_the_disk(
    run_dir: Path, inlet: Inlet, chunks: int
) -> None:
    writer = writing(run_dir, inlet)
    inlet.begin({"model.safetensors": 10 * CHUNK}, manifest(3))
    inlet.put(memoryview(bytes(chunks * CHUNK)))
    inlet.close()
    failure = writer.failure()
    assert failure.kind == "io"
    assert "the trainer was gone before all of its state had come" in failure.message
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_all_bytes_but_not_their_checksum_are_not_all_of_the_state(
    run_dir: Path, inlet: Inlet
) -> None:
    writer = writing(run_dir, inlet)
    inlet.begin({"model.safetensors": CHUNK}, manifest(3))
    inlet.put(memoryview(bytes(CHUNK)))
    inlet.close()
    assert writer.failure().kind == "io"
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_a_trainer_that_dies_after_its_last_word_has_its_state_saved(
    run_dir: Path, inlet: Inlet
) -> None:
    may_write = threading.Event()

    def fault(operation: Operation) -> int:
        if operation.kind == "write":
            assert may_write.wait(PATIENCE_SECONDS)
        return 0

    writer = writing(run_dir, inlet, FaultyDisk(fault))
    snapshot.send(inlet, state(3), manifest(3))
    inlet.close()
    may_write.set()
    assert same(load(writer.entry()).files, state(3))


def test_bytes_that_changed_in_the_ring_are_not_saved(run_dir: Path, inlet: Inlet) -> None:
    writer = writing(run_dir, inlet)
    inlet.begin({"model.safetensors": 8}, manifest(3))
    inlet.put(memoryview(b"12345678"))
    inlet.end_file(FileRecord(8, "0" * 32))
    failure = writer.failure()
    assert failure.kind == "damaged"
    assert "model.safetensors: its checksum changed" in failure.message
    assert list((run_dir / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"{}", "its head is not understood"),
        (b"nonsense", "its head is not understood"),
        (b'{"manifest": "x", "sizes": {}}', "its head is not understood"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(
    run_dir: Path, inlet: Inlet, said: bytes, heard: str
) -> None:
    writer = writing(run_dir, inlet)
    inlet._channel.sendall(struct.pack("<I", len(said)) + said)
    failure = writer.failure()
    assert (failure.kind, heard in failure.message) == ("damaged", True)


@pytest.mark.parametrize("length", [0, 11, CHUNK + 1, 1 << 31])
def test_a_chunk_that_cannot_be_is_refused(run_dir: Path, inlet: Inlet, length: int) -> None:
    writer = writing(run_dir, inlet)
    inlet.begin({"model.safetensors": 10}, manifest(3))
    inlet._channel.sendall(struct.pack("<I", length))
    failure = writer.failure()
    assert failure.kind == "damaged"
    assert f"a chunk of {length} bytes, where 10 are to come" in failure.message


@pytest.mark.parametrize(
    ("kind", "number", "told"),
    [("write", errno.ENOSPC, "disk_full"), ("write", errno.EIO, "io"), ("fsync", errno.EIO, "io")],
)
def test_a_disk_that_fails_costs_this_generation_and_the_trainer_is_told(
    run_dir: Path, inlet: Inlet, kind: str, number: int, told: str
) -> None:
    with Lease.take(run_dir, 1) as lease:
        before = save_step(run_dir, 1, lease)

    def fault(operation: Operation) -> int:
        return number if operation.kind == kind and "tmp-" in str(operation.path) else 0

    writer = writing(run_dir, inlet, FaultyDisk(fault))
    with pytest.raises(ConnectionError):
        snapshot.send(inlet, large(3), manifest(3))
    assert writer.failure().kind == told
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == [before.name]


def test_a_writer_that_waits_for_a_trainer_that_says_nothing_still_looks_at_the_fence(
    inlet: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "_LOOK_MILLISECONDS", 1)
    looks = 0

    class Falling:
        def check(self) -> None:
            nonlocal looks
            looks += 1
            if looks == 9:
                raise Fenced("attempt 2 owns it now")

    place = inlet.place
    outlet = Outlet(
        Place(os.dup(place.memory), os.dup(place.channel), place.chunks, CHUNK), Falling()
    )
    inlet.begin({"model.safetensors": 2 * CHUNK}, manifest(3))
    inlet.put(memoryview(bytes(CHUNK)))
    outlet.head()
    pieces = outlet.file(2 * CHUNK, [])
    assert len(next(pieces)) == CHUNK
    with pytest.raises(Fenced):
        next(pieces)
    outlet.close()


def test_raising_the_fence_before_the_commit_ends_a_state_that_has_come_whole(
    run_dir: Path, inlet: Inlet
) -> None:
    def fault(operation: Operation) -> int:
        if operation.kind == "create" and operation.path.name == "MANIFEST":
            raise_fence(run_dir, 2, clock=StillClock())
        return 0

    writer = writing(run_dir, inlet, FaultyDisk(fault))
    snapshot.send(inlet, large(3), manifest(3))
    assert writer.failure().kind == "fenced"
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_who_waits_for_room_is_let_go(run_dir: Path, inlet: Inlet) -> None:
    raised: list[OSError] = []

    def put() -> None:
        try:
            inlet.put(memoryview(bytes((CHUNKS + 1) * CHUNK)))
        except OSError as error:
            raised.append(error)

    # nobody is at the other end
    thread = threading.Thread(target=put)
    thread.start()
    watch(lambda: inlet._free == 0)
    inlet.abort()
    thread.join(PATIENCE_SECONDS)
    assert isinstance(raised[0], ConnectionError)


def test_a_writer_that_is_killed_takes_nothing_more_and_leaves_no_checkpoint(
    run_dir: Path, inlet: Inlet
) -> None:
    place = inlet.place
    child = subprocess.Popen(
        [sys.executable, "-m", "trainer.checkpoint.scribe"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(place.memory, place.channel),
    )
    inlet.handed_over()
    assert child.stdin is not None
    child.stdin.write(Mandate(str(run_dir), 1).to_line().encode() + place.to_line().encode())
    child.stdin.flush()
    inlet.begin({"model.safetensors": 1000 * CHUNK}, manifest(3))
    # more than there is room for: it has taken some of it, and some it has not
    inlet.put(memoryview(bytes(10 * CHUNK)))
    child.kill()
    child.communicate()
    with pytest.raises(ConnectionError):
        inlet.put(memoryview(bytes(900 * CHUNK)))
    assert catalog.list_checkpoints(run_dir) == []
    raise_fence(run_dir, 2, clock=StillClock())
    catalog.sweep(run_dir)
    assert list((run_dir / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("state_bytes", "available_bytes", "size_bytes"),
    [
        (8 * GIB, 16 * GIB, 256 * MIB),
        (8 * GIB, 3 * GIB, 192 * MIB),
        (8 * GIB, GIB, 64 * MIB),
        (8 * GIB, 256 * MIB, 64 * MIB),
        (8 * GIB, 255 * MIB, 0),
        (8 * GIB, 0, 0),
        (70 * MIB + 1, 16 * GIB, 72 * MIB),
    ],
)
def test_its_size_follows_the_memory_that_is_left(
    monkeypatch: pytest.MonkeyPatch, state_bytes: int, available_bytes: int, size_bytes: int
) -> None:
    monkeypatch.setattr(ring, "CHUNK_BYTES", 4 * MIB)
    assert ring.size_for(state_bytes, available_bytes) == size_bytes
