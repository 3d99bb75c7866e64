"""A mistake in homerun.toml as a sentence with its line: what is wrong, and what would be right."""

from __future__ import annotations

from datetime import date
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from trainer.contract import toml


def problem(root: type[BaseModel], error: ErrorDetails, text: str, file: str) -> toml.Problem:
    """What is wrong, where, and what would be right. ``root`` is the model of the whole file."""
    key, message = tuple(error["loc"]), _sentence(root, error)
    if error["type"] == "contradiction":
        name, _, message = error["msg"].partition("|")
        key = (*key, name)
    if key[:2] == ("quiet_hours", "times") and "[[quiet_hours]]" in text:
        # the short form has no "times"
        key = (key[0], *key[2:])
    return toml.Problem(file, toml.line_of(text, key), toml.dotted(key), message)


def _sentence(root: type[BaseModel], error: ErrorDetails) -> str:
    value, limits = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return toml.unknown_key(str(error["loc"][-1]), _known(root, error["loc"][:-1]))
        case "literal_error":
            return _no_such_choice(value, str(limits["expected"]))
        case "value_error":
            return str(limits["error"])
        case "greater_than" if "gt" in limits:
            return f"must be more than {limits['gt']:g} (is {value:g})"
        case "greater_than_equal" if "ge" in limits:
            return f"must be at least {limits['ge']:,} (is {value})"
        case "less_than_equal" if "le" in limits:
            return f"must be at most {limits['le']:,} (is {value})"
        case "string_too_short":
            return "must not be empty"
        case "missing":
            return "must be set"
        case "tuple_type" if _model_in(_annotation(root, error["loc"])):
            return f"must be a list of tables, not {_kind(value)}"
        case kind if kind in _WANTED:
            return f"must be {_WANTED[kind]}, not {_kind(value)}"
    return error["msg"]


_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "tuple_type": "a list of texts",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _kind(value: Any) -> str:
    names = {str: "a text", int: "a number", float: "a number", bool: "true or false"}
    if isinstance(value, date):
        return "a date"
    return names.get(type(value), "a table" if isinstance(value, dict) else "a list")


def _no_such_choice(value: Any, expected: str) -> str:
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
    hint = toml.nearest(str(value), choices) or f"choose one of {', '.join(choices)}"
    return f"no such choice {value!r}; {hint}"


def _known(root: type[BaseModel], table: tuple[int | str, ...]) -> list[str]:
    model = _model_in(_annotation(root, table))
    return list(model.model_fields) if model else []


def _annotation(root: type[BaseModel], place: tuple[int | str, ...]) -> Any:
    """The type of what stands there; the elements of a list are of the list's own."""
    annotation: Any = root
    for part in place:
        model = _model_in(annotation)
        if isinstance(part, str) and model is not None and part in model.model_fields:
            annotation = model.model_fields[part].annotation
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The table in ``Table``, ``Table | None`` or ``tuple[Table, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
