from __future__ import annotations

import os
import queue
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine.trainer_socket import TrainerSocket
from trainer.contract import messages
from trainer.contract.messages import Event, Failed, Heartbeat, Hello, Pause, Resume


class Relayed(queue.SimpleQueue[tuple[int, Event]]):
    """What the socket passed on."""

    def take(self, attempt: int, event: Event) -> None:
        self.put((attempt, event))


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as directory:
        yield Path(directory) / "engine.sock"


@pytest.fixture
def relayed() -> Relayed:
    return Relayed()


@pytest.fixture
def listener(path: Path, relayed: Relayed) -> Iterator[TrainerSocket]:
    made = TrainerSocket(path, relayed.take)
    made.serve()
    yield made
    made.close()


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5.0)
    connection.connect(str(path))
    return connection


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_events_go_up_commands_go_down_and_hello_carries_the_true_pid(
    path: Path, listener: TrainerSocket, relayed: Relayed
) -> None:
    listener.expect(3, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Hello("run", 3, pid=1)))
        trainer.sendall(messages.encode(Heartbeat(1, 2, 3)))
        assert relayed.get(timeout=5) == (3, Hello("run", 3, pid=os.getpid()))
        assert relayed.get(timeout=5) == (3, Heartbeat(1, 2, 3))
        listener.send(Pause())
        assert messages.decode(trainer.recv(1000)) == Pause()


def test_a_process_that_is_not_the_trainer_is_turned_away(
    path: Path, listener: TrainerSocket, relayed: Relayed
) -> None:
    with _connect(path) as early:
        assert _is_closed(early)
    listener.expect(3, os.getppid())
    with _connect(path) as stranger:
        assert _is_closed(stranger)
    assert relayed.empty()


def test_a_trainer_of_another_attempt_is_cut_off(
    path: Path, listener: TrainerSocket, relayed: Relayed
) -> None:
    listener.expect(3, os.getpid())
    with _connect(path) as late:
        late.sendall(messages.encode(Hello("run", 2, os.getpid())))
        assert _is_closed(late)
    assert relayed.empty()


def test_a_line_that_is_no_event_is_left_out(
    path: Path,
    listener: TrainerSocket,
    relayed: Relayed,
    capfd: pytest.CaptureFixture[str],
) -> None:
    listener.expect(3, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(b'rubbish\n{"type":"Nonsense"}\n' + messages.encode(Heartbeat(1, 2, 3)))
        assert relayed.get(timeout=5) == (3, Heartbeat(1, 2, 3))
    assert capfd.readouterr().err.count("no event") == 2


def test_the_last_words_of_a_trainer_that_died_at_once_are_relayed(
    path: Path, relayed: Relayed
) -> None:
    # nobody accepts yet: the trainer speaks and dies before the engine looks
    listener = TrainerSocket(path, relayed.take)
    listener.expect(3, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Failed("locked", "somebody lives here")))
    listener.finish(5.0)
    listener.close()
    assert relayed.get_nowait() == (3, Failed("locked", "somebody lives here"))


def test_after_the_end_a_command_is_lost_and_the_next_trainer_is_welcome(
    path: Path, listener: TrainerSocket, relayed: Relayed
) -> None:
    listener.expect(3, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Hello("run", 3, os.getpid())))
        relayed.get(timeout=5)
    listener.finish(5.0)
    listener.send(Pause())
    listener.expect(4, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Hello("run", 4, os.getpid())))
        assert relayed.get(timeout=5)[0] == 4


def test_a_trainer_that_reads_nothing_does_not_hold_up_the_engine(
    path: Path, listener: TrainerSocket, relayed: Relayed, capfd: pytest.CaptureFixture[str]
) -> None:
    listener.expect(3, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Hello("run", 3, os.getpid())))
        relayed.get(timeout=5)

        while "was not delivered" not in capfd.readouterr().err:
            for _ in range(500):
                listener.send(Pause())
        # what was delivered is whole, and so is the first command after it reads again
        trainer.setblocking(False)
        lines = b""
        while data := _available(trainer):
            lines += data
        listener.send(Resume())
        lines += _available(trainer)
        received = [messages.decode(line) for line in lines.splitlines()]
        assert set(received[:-1]) == {Pause()}
        assert received[-1] == Resume()


def _available(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_a_socket_left_by_a_dead_engine_is_replaced(path: Path, relayed: Relayed) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    listener = TrainerSocket(path, relayed.take)
    listener.serve()
    listener.expect(1, os.getpid())
    with _connect(path) as trainer:
        trainer.sendall(messages.encode(Heartbeat(0, 0, 1)))
        assert relayed.get(timeout=5) == (1, Heartbeat(0, 0, 1))
    listener.close()
    assert path.stat().st_mode & 0o777 == 0o600
