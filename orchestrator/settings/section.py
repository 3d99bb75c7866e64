"""What every table of homerun.toml is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo
from pydantic_core import PydanticCustomError

from orchestrator.durations import parse_seconds


def seconds(value: Any, info: ValidationInfo) -> Any:
    """Seconds of a text such as "2h"; the file takes no bare number."""
    if isinstance(value, str):
        return parse_seconds(value)
    if info.context == "file" or isinstance(value, bool):
        raise ValueError('must be a duration with its unit, such as "90s" or "2h"')
    return value


#: seconds as float; in the file a text such as "90s" or "2h"
Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0.0)]


#: for a Field that can change while the daemon runs; hot.py says how. All others wait for a start
HOT: dict[str, JsonValue] = {"hot": True}


class Section(BaseModel):
    """What all tables of the file share."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_hot(section: type[Section], key: str) -> bool:
    """Whether this key can change while the daemon runs."""
    extra = section.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and extra.get("hot") is True


def contradiction(key: str, message: str) -> PydanticCustomError:
    """The error for a table whose keys do not go together; ``key`` is the one to name."""
    # pydantic fills in {placeholders}, which a text of ours never means
    return PydanticCustomError("contradiction", "{key}|{text}", {"key": key, "text": message})
