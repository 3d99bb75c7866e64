from __future__ import annotations

import pytest

from orchestrator.engine import wire
from orchestrator.engine.base import EngineReady, TrainerEvent, TrainerExited
from orchestrator.engine.process import Identity
from trainer.contract.job import Guardian, Job
from trainer.contract.messages import Heartbeat, ProtocolError, Save
from trainer.contract.spec import RunSpec

JOB = Job(RunSpec("wire"), 3, "/runs/wire", "/data", "/run/s", (Guardian(1, 2),))


@pytest.mark.parametrize(
    "order",
    [
        wire.StartOrder(JOB),
        wire.CommandOrder(Save("42")),
        wire.KillOrder(7, "no progress\nfor 10 min"),
        wire.ShutdownOrder(),
    ],
)
def test_an_order_arrives_as_it_was_given(order: wire.Order) -> None:
    line = wire.encode_order(order)
    assert line.count(b"\n") == 1
    assert wire.decode_order(line) == order


@pytest.mark.parametrize(
    "report",
    [
        EngineReady({"host": 12}),
        TrainerEvent(3, Heartbeat(1, 2, 3)),
        TrainerExited(3, "exit code 1"),
        wire.Spawned(3, Identity(55, 66)),
        wire.Answer(7),
        wire.Losing("raylet is gone"),
        wire.Alive(),
    ],
)
def test_a_report_arrives_as_it_was_given(report: wire.Report) -> None:
    line = wire.encode_report(report)
    assert line.count(b"\n") == 1
    assert wire.decode_report(line) == report


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b'{"do":"dance"}',
        b'{"do":"kill"}',
        b'{"do":"start","job":{}}',
        b'{"do":"start","job":7}',
        b'{"do":"command","command":{"type":"Nonsense"}}',
        b'{"say":"ready","pids":7}',
        b'{"say":"spawned","attempt":1,"identity":[1]}',
        b"\xff\xfe",
    ],
)
def test_rubbish_is_a_protocol_error_in_both_directions(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_order(line)
    with pytest.raises(ProtocolError):
        wire.decode_report(line)


def test_lines_are_cut_wherever_the_pieces_end() -> None:
    lines = wire.Lines()
    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.feed(b"o") == []
    assert lines.feed(b"\n\nthree\n") == [b"two", b"three"]


def test_a_line_without_an_end_is_refused() -> None:
    lines = wire.Lines()
    with pytest.raises(ProtocolError, match="more than"):
        lines.feed(b"x" * (wire.LINE_BYTES + 1))
