"""homerun-power: real sockets, real deaths, a simulated card."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import power_helper
from orchestrator import power_wire as wire
from orchestrator.home.assisted_gpu import AssistedGpu, PowerClient
from orchestrator.home.clock import FakeClock, SystemClock
from orchestrator.home.gpu import GpuLost, NoRight
from orchestrator.home.limiter import GpuLimiter, may_set_limit
from orchestrator.home.simulated_gpu import LIMITS, SimulatedGpu
from orchestrator.power_helper import PowerHelper, listening

DEFAULT = LIMITS.default_watts
#: a person's own; nobody in these tests is number 1
SOMEBODY_ELSE = 1


class Helper:
    """A helper in a thread of its own, over a simulated card that root may limit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.card = SimulatedGpu(self.clock)
        #: set whenever the limit becomes the default
        self.restored = threading.Event()
        self.card.set_limit = self._set  # type: ignore[method-assign]
        self.start()

    def _set(self, watts: float) -> None:
        SimulatedGpu.set_limit(self.card, watts)
        if watts == DEFAULT:
            self.restored.set()

    def start(self) -> None:
        self.restored.clear()
        self._ours, self._wake = socket.socketpair()
        self._listening = listening(str(self.path))
        listener = self._listening.__enter__()
        helper = PowerHelper(self.card, listener, [os.getuid()], self.clock)
        self._thread = threading.Thread(target=helper.serve, args=(self._wake,))
        self._thread.start()

    def stop(self) -> None:
        self._ours.send(b"x")
        self._thread.join()
        self._listening.__exit__(None, None, None)
        self._ours.close()
        self._wake.close()

    def dial(self) -> socket.socket:
        """A client that says what the test wants."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def client(self) -> AssistedGpu:
        """A daemon's view of the card, which it may only read."""
        mine = SimulatedGpu(self.clock, permitted=False)
        mine.read = self.card.read  # type: ignore[method-assign]
        return AssistedGpu(mine, PowerClient(str(self.path), self.clock))


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    running = Helper(tmp_path / "socket")
    yield running
    running.stop()


def hear(connection: socket.socket) -> dict[str, object]:
    """The next line; an empty answer when the helper hung up."""
    received = b""
    while not received.endswith(b"\n"):
        data = connection.recv(1)
        if not data:
            return {}
        received += data
    answer = json.loads(received)
    assert isinstance(answer, dict)
    return answer


# --- what it does ---------------------------------------------------------------------------


def test_a_daemon_without_the_right_limits_the_card_by_the_helper(helper: Helper) -> None:
    gpu = helper.client()
    assert may_set_limit(gpu)
    limiter = GpuLimiter(gpu)
    assert limiter.apply(140.0) == ""
    assert helper.card.limit_watts == 140.0
    assert gpu.read().limit_watts == 140.0
    assert limiter.apply(None) == ""
    assert helper.card.limit_watts == DEFAULT
    gpu.close()


def test_the_default_is_back_when_the_client_lets_go(helper: Helper) -> None:
    gpu = helper.client()
    gpu.set_limit(120.0)
    assert helper.card.limit_watts == 120.0
    helper.restored.clear()
    gpu.close()
    assert helper.restored.wait(20)


_CHILD = """
import sys, time
from orchestrator.home.assisted_gpu import PowerClient
from orchestrator.home.clock import SystemClock
client = PowerClient(sys.argv[1], SystemClock())
client.set_limit(120.0)
print("set", flush=True)
sys.stdin.read()
"""


def test_the_default_is_back_when_the_client_is_killed(helper: Helper) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(helper.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"set\n"
        assert helper.card.limit_watts == 120.0
        helper.restored.clear()
        child.send_signal(signal.SIGKILL)
        assert helper.restored.wait(20)


def test_the_default_is_back_at_the_helpers_own_end_and_the_daemon_finds_the_next_helper(
    helper: Helper,
) -> None:
    gpu = helper.client()
    limiter = GpuLimiter(gpu)
    limiter.apply(120.0)
    helper.stop()
    assert helper.card.limit_watts == DEFAULT
    assert "homerun-power" in limiter.apply(120.0)
    helper.start()
    assert limiter.apply(120.0) == ""
    assert helper.card.limit_watts == 120.0
    gpu.close()


def test_a_second_client_takes_over_and_the_first_ones_end_changes_nothing(
    helper: Helper,
) -> None:
    first, second = helper.client(), helper.client()
    first.set_limit(120.0)
    second.set_limit(150.0)
    first.close()
    with helper.dial() as probe:
        hear(probe)
        probe.sendall(wire.encode({"do": "limits"}))
        assert hear(probe)["limit_watts"] == 150.0
    helper.restored.clear()
    second.close()
    assert helper.restored.wait(20)


def test_a_default_that_could_not_be_restored_is_tried_again(helper: Helper) -> None:
    gpu = helper.client()
    gpu.set_limit(120.0)
    helper.card.lost = True
    helper.restored.clear()
    gpu.close()
    helper.card.lost = False
    assert helper.restored.wait(20)


# --- whom it refuses ------------------------------------------------------------------------


@pytest.mark.parametrize("watts", [LIMITS.lowest_watts - 0.1, LIMITS.highest_watts + 0.1, -5, 0])
def test_what_the_card_does_not_allow_is_refused(helper: Helper, watts: float) -> None:
    gpu = helper.client()
    with pytest.raises(ValueError, match="outside of the card's range"):
        gpu.set_limit(watts)
    assert helper.card.limit_watts == DEFAULT
    gpu.close()


def test_a_foreign_user_is_refused(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_helper, "peer_uid", lambda connection: SOMEBODY_ELSE)
    with pytest.raises(NoRight, match="user 1 may not set the power limit"):
        helper.client().set_limit(120.0)
    assert helper.card.limit_watts == DEFAULT


def test_the_kernel_says_who_asks(helper: Helper) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert power_helper.peer_uid(one) == os.getuid()


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"7",
        b'{"do": "format"}',
        b'{"do": "set"}',
        b'{"do": "set", "watts": "140"}',
        b'{"do": "set", "watts": true}',
        b'{"do": "set", "watts": NaN}',
        b'{"do": "set", "watts": 1e300}',
        b'{"do": "set", "watts": 140, "gpu": 1}',
        b'{"do": "reset", "watts": 140}',
        b"[" * 900,
        b"",
    ],
)
def test_rubbish_gets_an_answer_and_changes_nothing(helper: Helper, line: bytes) -> None:
    with helper.dial() as connection:
        assert hear(connection)["ok"] is True
        connection.sendall(line + b"\n")
        answer = hear(connection)
        assert (answer["ok"], answer["error"]) == (False, wire.MALFORMED)
        connection.sendall(wire.encode({"do": "set", "watts": 140}))
        assert hear(connection)["ok"] is True
    assert helper.restored.wait(20)


def test_a_line_without_end_is_not_waited_for(helper: Helper) -> None:
    with helper.dial() as connection:
        hear(connection)
        connection.sendall(b"x" * wire.LINE_BYTES)
        assert hear(connection)["error"] == wire.MALFORMED
        assert hear(connection) == {}


def test_a_slow_client_is_dropped_and_holds_up_nobody(helper: Helper) -> None:
    with helper.dial() as slow:
        hear(slow)
        slow.sendall(b'{"do": ')
        gpu = helper.client()
        gpu.set_limit(120.0)
        assert helper.card.limit_watts == 120.0
        helper.clock.advance(6)
        assert hear(slow) == {}
        assert helper.card.limit_watts == 120.0
        gpu.close()


def test_too_many_at_once_are_refused_and_the_first_go_on(helper: Helper) -> None:
    many = [helper.dial() for _ in range(9)]
    greetings = [hear(connection) for connection in many]
    assert [greeting["ok"] for greeting in greetings] == [True] * 8 + [False]
    for connection in many:
        connection.close()


# --- the client -----------------------------------------------------------------------------


def test_without_a_helper_the_reason_is_the_cards_own_and_the_missing_socket(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    card = SimulatedGpu(clock, permitted=False)
    gpu = AssistedGpu(card, PowerClient(str(tmp_path / "none"), clock))
    with pytest.raises(NoRight, match="Insufficient Permissions; homerun-power cannot be used"):
        gpu.set_limit(120.0)
    assert not may_set_limit(gpu)


def test_who_may_set_the_limit_himself_needs_no_helper(tmp_path: Path) -> None:
    clock = FakeClock()
    card = SimulatedGpu(clock)
    AssistedGpu(card, PowerClient(str(tmp_path / "none"), clock)).set_limit(120.0)
    assert card.limit_watts == 120.0


@pytest.mark.parametrize("answer", [b"", b"rubbish\n", b"[1]\n", b"x" * 5000])
def test_a_helper_that_is_none_is_no_reason_to_fail(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(NoRight, match="cannot be used"):
            PowerClient(str(path), FakeClock()).set_limit(120.0)
        thread.join()


def test_a_lost_card_is_lost_by_the_helper_too(helper: Helper) -> None:
    gpu = helper.client()
    helper.card.lost = True
    with pytest.raises(GpuLost):
        gpu.set_limit(120.0)
    gpu.close()


# --- the program ----------------------------------------------------------------------------


def test_without_a_card_the_program_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_card(index: int = 0) -> None:
        raise OSError("no card by NVML: none")

    monkeypatch.setattr(power_helper, "NvmlGpu", no_card)
    assert power_helper.main(["--allow", "root"]) == 3
    assert "no card by NVML" in capsys.readouterr().err


def test_after_a_kill_systemd_lets_it_restore_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = SimulatedGpu(FakeClock())
    card.set_limit(120.0)
    monkeypatch.setattr(power_helper, "NvmlGpu", lambda: card)
    assert power_helper.main(["--restore"]) == 0
    assert card.limit_watts == DEFAULT
    card.lost = True
    assert power_helper.main(["--restore"]) == 1
    assert "the default limit is not back: GPU is lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--allow", "nobody-of-this-name"], "nobody-of-this-name"), ([], "--socket PATH")],
)
def test_a_wrong_command_line_is_told(
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(power_helper, "NvmlGpu", lambda: SimulatedGpu(FakeClock()))
    with pytest.raises(SystemExit):
        power_helper.main(arguments)
    assert complaint in capsys.readouterr().err


_PROGRAM = """
import sys
from orchestrator import power_helper
from orchestrator.home.clock import SystemClock
from orchestrator.home.simulated_gpu import SimulatedGpu
card = SimulatedGpu(SystemClock())
power_helper.NvmlGpu = lambda: card
print("up", flush=True)
code = power_helper.main(sys.argv[1:])
print(card.limit_watts, flush=True)
sys.exit(code)
"""


def test_sigterm_ends_the_program_with_the_default_restored(
    tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    path = tmp_path / "socket"
    command = [sys.executable, "-c", _PROGRAM, "--socket", str(path), "--allow", str(os.getuid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        until(path.exists)
        client = PowerClient(str(path), SystemClock())
        client.set_limit(120.0)
        program.send_signal(signal.SIGTERM)
        assert program.stdout.readline() == f"{DEFAULT}\n"
        assert program.wait(20) == 0
    client.close()
    assert not path.exists()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        never = threading.Event()
        for _ in range(2000):
            if condition():
                return
            never.wait(0.01)
        raise AssertionError("it never came")

    return wait
