"""The configuration as TOML text: a commented beginning, and what counts now."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from orchestrator import places
from orchestrator.durations import format_seconds
from orchestrator.settings.config import Config, Loaded, is_duration, sections, view
from orchestrator.settings.section import Section
from trainer.contract import toml

_HEAD = """\
# homerun.toml: the configuration of the homerun daemon.
#
# Every key is optional; what stands here commented out is its default. Durations are texts with
# a unit: "90s", "15m", "2h", "1d". After a change: homerun config reload says what is in use now.
"""


_WIDTH = 96


def template() -> str:
    """Every table and key of the model with its meaning and default, commented out."""
    parts = [_HEAD]
    for name, section in sections(Config()).items():
        parts.append("\n".join(_commented(name, section)))
    return "\n".join(parts)


def _commented(name: str, section: Section) -> list[str]:
    lines = [f"# {(type(section).__doc__ or '').strip()}", f"[{name}]"]
    for key, field in type(section).model_fields.items():
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", 96)]
        if field.examples:
            # no value says "not set", or it is a table of its own: an example says more
            lines += [f"#   {line}" for line in example(name, key, field.examples[0])] + [""]
        else:
            lines += [f"#{line}" for line in _wrapped(f"{key} = {_default(section, key)}")] + [""]
    return lines


def example(table: str, key: str, example: Any) -> list[str]:
    """The lines of an example, with a head of its own where it is a table."""
    if isinstance(example, dict):
        head = f"[{table}.{key}]"
    elif isinstance(example, list) and isinstance(example[0], dict):
        head, example = f"[[{table}.{key}]]", example[0]
    else:
        return [f"{key} = {value_text(example)}"]
    return [head, *(f"{name} = {value_text(value)}" for name, value in example.items())]


def _wrapped(line: str) -> list[str]:
    """A list may go over several lines in TOML."""
    return textwrap.wrap(line, _WIDTH, break_on_hyphens=False) if len(line) > _WIDTH else [line]


def _default(section: Section, key: str) -> str:
    if key == "state_dir":
        return value_text("~/.local/state/homerun")
    default = type(section).model_fields[key].default
    if is_duration(type(section), key):
        return value_text(format_seconds(default))
    return value_text(default)


def effective(loaded: Loaded, env: Mapping[str, str]) -> str:
    """The configuration that counts, as TOML; a comment behind each value says where it is from."""
    lines = [f"# {loaded.file}" if loaded.file else "# no file: everything is a default"]
    for name, table in view(loaded.config).items():
        lines += ["", f"[{name}]"]
        for key, value in table.items():
            text = f"# {key} is not set" if value is None else f"{key} = {value_text(value)}"
            lines.append(f"{text:<44}  # {_origin(loaded, name, key, env)}")
    return "\n".join(lines) + "\n"


def _origin(loaded: Loaded, table: str, key: str, env: Mapping[str, str]) -> str:
    if key in loaded.plain.get(table, {}):
        return f"line {toml.line_of(loaded.text, (table, key))}"
    return places.state_dir_origin(env) if key == "state_dir" else "default"


def value_text(value: Any) -> str:
    """A text, number, truth value, list or table as TOML writes it."""
    if isinstance(value, str):
        # JSON escapes a superset of what TOML's basic strings need, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {value_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(float(value) if isinstance(value, Decimal) else value)
