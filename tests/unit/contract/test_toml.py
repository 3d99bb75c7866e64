"""TOML files and the places of their errors."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract import toml

TEXT = """\
# a comment
name = "x"
[engine]
kind = "ray" # another
options = { deep = 1 }
[[zones]]
price = 1
[[zones]]
price = 2
[a.b]
"quoted" = 3
c.d = 4
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("name",), 2),
        (("engine",), 3),
        (("engine", "kind"), 4),
        (("engine", "options", "deep"), 5),
        (("engine", "missing"), 3),
        (("zones", 0, "price"), 7),
        (("zones", 1, "price"), 9),
        (("a", "b", "quoted"), 11),
        (("a", "b", "c", "d"), 12),
        (("nowhere",), 0),
    ],
)
def test_key_is_found_in_its_line(key: toml.Key, line: int) -> None:
    toml.parse(TEXT, "file")
    assert toml.line_of(TEXT, key) == line


@given(st.text(max_size=40) | st.text(alphabet='[]{}="\n.#a1', max_size=40))
def test_any_text_parses_or_is_refused_properly(text: str) -> None:
    with contextlib.suppress(toml.InvalidFileError):
        assert isinstance(toml.parse(text, "file"), dict)


def test_syntax_error_names_file_and_line() -> None:
    with pytest.raises(toml.InvalidFileError, match=r"^run\.toml:2: not TOML: "):
        toml.parse('name = "x"\nseed = = 2\n', "run.toml")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_value_beyond_all_measure_is_refused_and_no_crash(value: str) -> None:
    with pytest.raises(toml.InvalidFileError, match="not TOML"):
        toml.parse(f"a = {value}", "run.toml")


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(toml.InvalidFileError, match="cannot be read"):
        toml.read(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xe4"')
    with pytest.raises(toml.InvalidFileError, match=r"latin\.toml: cannot be read"):
        toml.read(latin)


def test_read_gives_values_and_text(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("a = 1\n")
    assert toml.read(file) == ({"a": 1}, "a = 1\n")


def test_nearest_key_or_all_keys_are_offered() -> None:
    assert toml.unknown_key("deptth", ["depth", "width"]) == ("unknown key; did you mean 'depth'?")
    assert toml.unknown_key("qqq", ["width", "depth"]) == "unknown key; known here: depth, width"


def test_dotted_key_reads_as_people_write_it() -> None:
    assert toml.dotted(("tariff", "zones", 0, "price")) == "tariff.zones[0].price"
    assert toml.dotted(()) == ""
