"""Messages between supervisor and trainer: every one survives the line, nothing else passes."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract import messages
from trainer.contract.messages import Command, Event, ProtocolError

TYPES: list[type] = [*typing.get_args(Command), *typing.get_args(Event)]
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    dict[str, Any]: st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=3),
    dict[str, float]: st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3),
    list[str]: st.lists(st.text(max_size=5), max_size=3),
    list[list[int]]: st.lists(st.lists(st.integers(), max_size=2), max_size=3),
}


@st.composite
def any_message(draw: st.DrawFn) -> Any:
    cls = draw(st.sampled_from(TYPES))
    hints = typing.get_type_hints(cls)
    return cls(**{item.name: draw(VALUES[hints[item.name]]) for item in dataclasses.fields(cls)})


@given(any_message())
def test_message_survives_the_line(message: Any) -> None:
    line = messages.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.decode(line) == message
    assert messages.decode(line.decode()) == message


@pytest.mark.parametrize("cls", TYPES)
def test_every_type_of_the_unions_can_be_read(cls: type) -> None:
    hints = typing.get_type_hints(cls)
    plain: dict[Any, Any] = {str: "", int: 1, float: 1.0, bool: True}
    kinds = [(hints[item.name], item.name) for item in dataclasses.fields(cls)]
    message = cls(
        **{
            name: plain[kind] if kind in plain else typing.get_origin(kind)()
            for kind, name in kinds
        }
    )
    assert type(messages.decode(messages.encode(message))) is cls


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_noise_is_a_protocol_error_and_nothing_else(line: bytes | str) -> None:
    with pytest.raises(ProtocolError):
        messages.decode(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("null", "no tagged message"),
        ('["Pause"]', "no tagged message"),
        ('{"type": 5}', "no tagged message"),
        ('{"type": "Explode"}', "unknown message 'Explode'"),
        ('{"type": "Hello"}', "Hello: .*missing"),
        ('{"type": "Pause", "why": ""}', "Pause: .*unexpected"),
    ],
)
def test_wrong_line_is_refused_with_the_reason(line: str, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        messages.decode(line)


def test_reading_does_not_change_what_it_reads() -> None:
    plain = {"type": "Save", "request": "7"}
    assert messages.from_dict(plain) == messages.Save("7")
    assert plain == {"type": "Save", "request": "7"}


def test_loss_that_is_no_number_still_travels() -> None:
    message = messages.Evaluated(step=1, bits_per_byte=math.inf, loss=math.nan, seconds=0.5)
    read = messages.decode(messages.encode(message))
    assert math.isnan(read.loss)
    assert read.bits_per_byte == math.inf


def test_line_breaks_in_texts_stay_inside_the_line() -> None:
    line = messages.encode(messages.Notice("kind", "two\nlines\r\nand \u2028 more"))
    assert line.count(b"\n") == 1
    assert json.loads(line)["message"] == "two\nlines\r\nand \u2028 more"
