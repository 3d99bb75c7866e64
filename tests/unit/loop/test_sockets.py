"""The line to the engine, over a real Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.contract import messages
from trainer.contract.messages import Heartbeat, Hello, Notice, Pause, Resume, Save, Stop
from trainer.sockets import SocketLink

HELLO = Hello("tiny", 3, 4242)


class Engine:
    """The other end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen(1)

    def accept(self) -> None:
        self.line, _ = self._server.accept()
        self.line.settimeout(10)
        self._reader = self.line.makefile("rb")

    def read(self) -> object:
        return messages.decode(self._reader.readline())

    def write(self, data: bytes) -> None:
        self.line.sendall(data)

    def hang_up(self) -> None:
        self._reader.close()
        self.line.close()

    def close(self) -> None:
        self.hang_up()
        self._server.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def link(engine: Engine) -> Iterator[SocketLink]:
    link = SocketLink(engine.path, HELLO)
    engine.accept()
    yield link
    link.close()


def test_hello_comes_first_and_events_keep_their_order(engine: Engine, link: SocketLink) -> None:
    for number in range(100):
        link.send(Notice("n", str(number)))
    assert engine.read() == HELLO
    assert [engine.read() for _ in range(100)] == [Notice("n", str(i)) for i in range(100)]


def test_commands_arrive_in_order(engine: Engine, link: SocketLink) -> None:
    sent: list[messages.Command] = [Pause(), Save("r1"), Resume(), Stop()]
    engine.write(b"".join(messages.encode(command) for command in sent))
    assert [link.wait(10) for _ in sent] == sent
    assert link.poll() is None
    assert link.wait(0.0) is None


def test_a_command_split_over_two_packets_is_one_command(engine: Engine, link: SocketLink) -> None:
    line = messages.encode(Save("in two pieces"))
    engine.write(line[:9])
    assert link.poll() is None
    engine.write(line[9:])
    assert link.wait(10) == Save("in two pieces")


@pytest.mark.parametrize(
    "rubbish", [b"no json\n", b'{"type":"Dance"}\n', b'{"type":"Save","x":1}\n', b"[1]\n"]
)
def test_a_line_that_is_no_command_is_skipped_and_named(
    engine: Engine, link: SocketLink, rubbish: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.write(rubbish + messages.encode(Stop()))
    assert link.wait(10) == Stop()
    assert "is no command" in capsys.readouterr().err


def test_an_event_sent_down_the_line_is_no_command(
    engine: Engine, link: SocketLink, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.write(messages.encode(HELLO) + messages.encode(Stop()))
    assert link.wait(10) == Stop()
    assert "Hello is no command" in capsys.readouterr().err


def test_flush_waits_until_a_slow_reader_has_taken_everything(
    engine: Engine, link: SocketLink
) -> None:
    for _ in range(40):
        link.send(Notice("long", "x" * 100_000))
    assert not link.flush(0.01)  # nobody reads, and the system's buffers are far smaller
    engine.read()
    for _ in range(40):
        assert engine.read() == Notice("long", "x" * 100_000)
    assert link.flush(10)


def test_heartbeats_are_left_out_when_the_reader_is_behind(
    engine: Engine, link: SocketLink
) -> None:
    for number in range(3000):
        link.send(Heartbeat(number, 0, 1))
        link.send(Notice("kept", "y" * 200))
    link.send(Stop())  # type: ignore[arg-type] # any message marks the end
    heard = []
    while (message := engine.read()) != Stop():
        heard.append(message)
    assert heard.count(Notice("kept", "y" * 200)) == 3000
    assert sum(isinstance(message, Heartbeat) for message in heard) < 3000


def test_a_reader_that_hangs_up_disturbs_nobody(engine: Engine, link: SocketLink) -> None:
    engine.hang_up()
    for _ in range(1000):
        link.send(Notice("into", "the void"))
    assert link.flush(10)
    assert link.poll() is None


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SocketLink(str(tmp_path / "nobody.sock"), HELLO)


def test_a_signal_handlers_command_comes_like_any_other(link: SocketLink) -> None:
    link.inject(Stop())
    assert link.poll() == Stop()
