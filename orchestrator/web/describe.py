"""What an endpoint takes and gives, said beside it; ``openapi`` makes the document out of it.

Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has them. Those of answers come from the types of
the domain, by the same rules as ``domain.to_json`` turns its values into JSON.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from orchestrator.web.parameters import BIGGEST, MAX_SECONDS, MAX_TEXT

Schema = dict[str, Any]
E = TypeVar("E", bound=Callable[..., Any])

_MARK = "_described"
_SIGNS = r"[^\x00-\x1f\x7f]"
_PLAIN: dict[Any, Schema] = {
    Any: {},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    Decimal: {"type": "number"},
    # what is no number is unknown, and told as null
    float: {"type": ["number", "null"]},
}


@dataclass(frozen=True)
class Description:
    """One endpoint. ``answer`` is a type, or a mapping of keys to types."""

    answer: Any
    query: Mapping[str, Schema] = field(default_factory=dict)
    #: None for what is only read
    body: Mapping[str, Schema] | None = None
    required: tuple[str, ...] = ()
    status: int = 200
    media_type: str = "application/json"


def describes(
    answer: Any,
    *,
    query: Mapping[str, Schema] | None = None,
    body: Mapping[str, Schema] | None = None,
    required: tuple[str, ...] = (),
    status: int = 200,
    media_type: str = "application/json",
) -> Callable[[E], E]:
    """Says of an endpoint what ``Description`` holds."""
    description = Description(answer, query or {}, body, required, status, media_type)

    def mark(endpoint: E) -> E:
        setattr(endpoint, _MARK, description)
        return endpoint

    return mark


def description_of(endpoint: Callable[..., Any]) -> Description | None:
    """What was said of it."""
    found = getattr(endpoint, _MARK, None)
    return found if isinstance(found, Description) else None


# --- what a request holds -------------------------------------------------------------------


def text(meaning: str) -> Schema:
    """One line that is not blank."""
    pattern = rf"^{_SIGNS}*\S{_SIGNS}*$"
    return {"type": "string", "maxLength": MAX_TEXT, "pattern": pattern, "description": meaning}


def optional(schema: Schema) -> Schema:
    """The same, or null, which is as if it were absent."""
    return {**schema, "type": [schema["type"], "null"]}


def remark(meaning: str) -> Schema:
    """One line, which may be blank."""
    pattern = rf"^{_SIGNS}*$"
    plain = {"type": "string", "maxLength": MAX_TEXT, "pattern": pattern, "description": meaning}
    return optional(plain)


def whole(low: int, high: int, default: int, meaning: str = "") -> Schema:
    """A whole number."""
    bounds = {"type": "integer", "minimum": low, "maximum": high, "default": default}
    return {**bounds, "description": meaning} if meaning else bounds


def choice(default: enum.Enum) -> Schema:
    """One word of an enumeration."""
    words = [str(member.value) for member in type(default)]
    return {"type": "string", "enum": words, "default": str(default.value)}


def amount(meaning: str, *, exact: bool = False) -> Schema:
    """A number of at least 0, or null; an ``exact`` one may come as a text."""
    kinds = ["number", "string", "null"] if exact else ["number", "null"]
    bounds = {"type": kinds, "minimum": 0, "maximum": BIGGEST, "description": meaning}
    return {**bounds, "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$"} if exact else bounds


def flag(meaning: str) -> Schema:
    """True or false; false when it is absent."""
    return {"type": "boolean", "default": False, "description": meaning}


#: when something ends: one of them, or neither
END: dict[str, Schema] = {
    "until": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When it ends, with a zone; instead of seconds.",
    },
    "seconds": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": MAX_SECONDS,
        "description": "How long it lasts from now; instead of until.",
    },
}


# --- what an answer holds -------------------------------------------------------------------


def fields_of(kind: type) -> dict[str, Any]:
    """The fields of a dataclass and their types, to build an answer on."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


class Components:
    """The schemas of all dataclasses that were met, by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._kinds: dict[str, type] = {}

    def schema_of(self, hint: Any) -> Schema:
        """The schema of a type, as ``to_json`` writes its values.

        Raises:
            TypeError: nobody said how such a type is written.
        """
        if isinstance(hint, Mapping):
            return self._object(hint)
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return {"enum": [member.value for member in hint]}
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self._reference(hint)
        return self._compound(hint)

    def _compound(self, hint: Any) -> Schema:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.schema_of(argument) for argument in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
            return {"type": "array", "items": self.schema_of(arguments[0])}
        if origin is tuple:
            places = [self.schema_of(argument) for argument in arguments]
            size = len(places)
            return {"type": "array", "prefixItems": places, "minItems": size, "maxItems": size}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema_of(arguments[1])}
        raise TypeError(f"{hint!r} has no schema")

    def _reference(self, kind: type) -> Schema:
        name = kind.__name__
        if name not in self._kinds:
            # named before it is looked into: it may hold its own kind
            self._kinds[name] = kind
            self.schemas[name] = self._object(fields_of(kind))
            first = (kind.__doc__ or "").strip().partition("\n")[0]
            self.schemas[name]["description"] = first
        assert self._kinds[name] is kind, f"two kinds are called {name}"
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, fields: Mapping[str, Any]) -> Schema:
        return {
            "type": "object",
            "properties": {name: self.schema_of(hint) for name, hint in fields.items()},
            "required": list(fields),
            "additionalProperties": False,
        }
