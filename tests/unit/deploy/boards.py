"""The dashboards as values: panels, their queries, and what Grafana would put into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "deploy/grafana/dashboards"
NAMES = ("run", "house", "machine")

#: what a dashboard that shows half a minute in steps of a second would have
_VARIABLES = {
    "$__rate_interval": "30s",
    "$__range": "30s",
    "$run": ".*",
}


def board(name: str) -> dict[str, Any]:
    """One dashboard."""
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels, without the titles between them."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def queries(name: str) -> Iterator[tuple[str, str]]:
    """Where a query stands, and its expression."""
    for panel in panels(name):
        for target in panel["targets"]:
            yield f"{name}: {panel['title']} ({target['refId']})", target["expr"]
    for annotation in board(name)["annotations"]["list"]:
        if "expr" in annotation:
            yield f"{name}: annotation {annotation['name']}", annotation["expr"]


def filled_in(expression: str) -> str:
    """The expression as Prometheus gets it."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable nobody fills in: {expression}"
    return expression
