"""A report as one page that needs nothing else: no script, no font, no network. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any

from orchestrator.cli import render, times
from orchestrator.cli.report.canvas import COLOURS
from orchestrator.cli.report.charts import WORDS
from orchestrator.cli.report.facts import Report
from orchestrator.cli.report.figures import figures
from orchestrator.cli.report.panels import Panel, panels
from orchestrator.cli.report.svg import SvgCanvas

#: tables of a month are long; the newest rows are what a person looks for
_MOST_ROWS = 30

_STYLE = """
:root { color-scheme: light dark; %s }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 3rem; max-width: 1024px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 2rem; font-weight: 650; letter-spacing: -.01em; }
h2 { margin: 0; font-size: 1.05rem; font-weight: 600; }
p { margin: .3rem 0 1.6rem; color: var(--muted); }
h2 small { font-weight: 400; color: var(--muted); margin-left: .6em; }
dl { display: grid; gap: .75rem; margin: 0 0 2rem;
  grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); }
dl div { background: var(--card); border-radius: 10px; padding: .7rem .9rem; }
dt, dd small { color: var(--muted); font-size: .8rem; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
dd small { display: block; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2rem 1.5rem; }
.wide { grid-column: 1 / -1; }
section { min-width: 0; }
svg { display: block; width: 100%%; height: auto; overflow: visible; margin-top: .6rem;
  font-family: system-ui, sans-serif; }
.table { overflow-x: auto; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%%; margin-top: .6rem; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
td { white-space: nowrap; }
td:last-child { white-space: normal; }
footer { margin-top: 2.5rem; color: var(--muted); font-size: .8rem; }
@media (max-width: 700px) { .charts { grid-template-columns: minmax(0, 1fr); }
  section.wide { overflow-x: auto; } section.wide svg { min-width: 680px; } }
@media print { section, .table { break-inside: avoid; } }
"""


def page(report: Report) -> str:
    """The whole file."""
    name = escape(report.run["name"])
    colours = " ".join(
        f"--{key}: light-dark({light}, {dark});" for key, (light, dark) in COLOURS.items()
    )
    body = [
        f"<h1>{name}</h1><p>{escape(report.headline)}</p>",
        _tiles(report),
        '<div class="charts">',
        *(_panel(panel) for panel in panels(report)),
        "</div>",
        *_tables(report),
        f"<footer>homerun {escape(report.version)}, {_moment(report.made)}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{name}: {escape(report.headline)}</title>"
        f"<style>{_STYLE % colours}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _tiles(report: Report) -> str:
    found = "".join(
        f"<div><dt>{escape(item.name)}</dt><dd>{escape(item.value)}"
        f"<small>{escape(item.remark)}</small></dd></div>"
        for item in figures(report)
    )
    return f"<dl>{found}</dl>"


def _panel(panel: Panel) -> str:
    canvas = SvgCanvas(panel.size.width, panel.size.height, f"{panel.title}: {panel.remark}")
    panel.draw(canvas)
    kind = ' class="wide"' if panel.wide else ""
    head = f"<h2>{escape(panel.title)}<small>{escape(panel.remark)}</small></h2>"
    return f"<section{kind}>{head}{canvas.svg()}</section>"


def _tables(report: Report) -> Iterator[str]:
    held = report.held_seconds.items()
    yield _table(
        "Holds", "overlaps count for each", ("by", "in all"),
        [(WORDS.get(reason, reason), times.span(seconds)) for reason, seconds in held],
    )  # fmt: skip
    yield _table(
        "Outages", "", ("from", "to", "lasted"),
        [
            (_moment(span.start), _moment(span.end),
             times.span((span.end - span.start).total_seconds()))
            for span in reversed(report.outages)
        ],
    )  # fmt: skip
    yield _table(
        "Attempts", "lives of the trainer, newest first",
        ("number", "from", "to", "steps", "how it ended"),
        [_attempt(item) for item in report.attempts],
    )  # fmt: skip
    yield _table(
        "Checkpoints", "those that are kept, newest first", ("step", "saved", "size", "why"),
        [
            (
                f"{item['step']:,}",
                _moment(datetime.fromisoformat(item["created"])),
                render.size(item["size_bytes"]),
                item["reason"],
            )
            for item in report.checkpoints
        ],
    )  # fmt: skip


def _attempt(item: dict[str, Any]) -> tuple[str, ...]:
    ended = _moment(datetime.fromisoformat(item["ended"])) if item["ended"] else "now"
    steps = [item["first_step"], item["last_step"]]
    words = " to ".join(f"{step:,}" for step in steps if step is not None)
    how = ": ".join(part for part in (item["end"], item["cause"]) if part) or "goes on"
    started = _moment(datetime.fromisoformat(item["started"]))
    return str(item["number"]), started, ended, words, how


def _table(title: str, remark: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    more = f"; {len(rows) - _MOST_ROWS} more left out" if len(rows) > _MOST_ROWS else ""
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    small = f"<small>{escape(remark + more).lstrip('; ')}</small>" if remark or more else ""
    return (
        f'<div class="table"><h2>{escape(title)}{small}</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def _moment(when: datetime) -> str:
    local = when.astimezone()
    return f"{local:%F %H:%M} {local.tzname()}"
