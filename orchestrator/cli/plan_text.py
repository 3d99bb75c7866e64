"""The plan as tables and sentences for people, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import click

from orchestrator.cli import plan_room, render
from orchestrator.cli.plan_room import Room
from orchestrator.cli.render import Column, Glyphs
from orchestrator.planning import estimate_statement as statement
from orchestrator.planning.estimate import DAY_SECONDS, Estimate, Row, Wish
from orchestrator.planning.estimate_instead import Instead

_GIB = 1 << 30
_JOULES_PER_KWH = 3.6e6
_UNKNOWN = "?"

_MEMORY_WORDS = (
    "Memory in GiB. FITS: yes, or by how much it does not. B: sequences in a micro-batch; h: "
    'gradients on the host (memory.gradients = "host"). On top of HOST come up to two copies of '
    "what SAVE says in shared memory, as far as the machine has room: two, one or, where not even "
    "one fits, a ring of 64 to 256 MiB that saves stream through ([checkpoint] ram)."
)


def _columns(left: str, *right: str) -> tuple[Column, ...]:
    return (Column(left), *(Column(title, right=True) for title in right))


_MEMORY = _columns(
    *("RECIPE", "B", "FITS", "PEAK", "WEIGHT", "GRADS", "STATE", "ACTIV", "LOGIT", "CUDA", "HOST")
)
_COST = _columns(*("RECIPE", "TFLOPS", "TOK/S", "SPEED", "DAYS", "kWh", "MONEY", "SAVE", "SSD/30d"))
_INSTEAD = _columns(
    *("MODEL", "SIZE", "RECIPE", "TOKENS", "RATIO", "DAYS", "kWh", "MONEY", "SHARDS", "LOSS")
)


def text(
    answer: Estimate,
    options: Sequence[Instead],
    deadline: float,
    room: Room,
    width: int,
    glyphs: Glyphs,
) -> str:
    """Everything that the command prints. ``deadline`` is in seconds from now."""
    blocks = (
        _head(answer, width),
        _wrapped([_MEMORY_WORDS], width),
        render.table(_MEMORY, [_memory(row) for row in answer.rows], width, glyphs),
        [""],
        render.table(_COST, [_cost(row, answer.wish) for row in answer.rows], width, glyphs),
        [""],
        _wrapped(statement.plain_words(answer, deadline), width),
        _wrapped([plan_room.words(answer.rows, room)], width),
        _instead(options, deadline, width, glyphs),
        [""],
        [click.style(line, dim=True) for line in _wrapped(_notes(answer), width)],
    )
    return "\n".join(line for block in blocks for line in block)


def _head(answer: Estimate, width: int) -> list[str]:
    wish, data = answer.wish, answer.data
    card = wish.card.name if wish.card else "this machine"
    title = (
        f"d{wish.model.depth}, {answer.parameters:,} parameters, on "
        f"{count(wish.tokens)} tokens with {card}: {answer.flops:.3g} FLOPs"
    )
    corpus = (
        f"Data: {data.shards_needed:,} shards of FineWeb-Edu "
        f"({render.size(data.download_bytes)}), "
        f"{data.epochs:.2f} of the {data.shards:,} at hand"
    )
    loud = [
        click.style(line, fg="red", bold=True)
        for said in statement.warnings(answer)
        for line in render.wrap(f"WARNING: {said}", width)
    ]
    return [*(click.style(line, bold=True) for line in render.wrap(title, width)), corpus, *loud]


def _memory(row: Row) -> list[str]:
    needed = row.memory
    parts = (needed.weights, needed.gradients, needed.state, needed.activations, needed.logits)
    return [
        row.storage.name,
        f"{needed.micro_batch}h" if row.storage.host_gradients else f"{needed.micro_batch} ",
        _fits(row),
        _gib(needed.peak),
        *map(_gib, parts),
        _gib(needed.context),
        _gib(needed.host),
    ]


def _fits(row: Row) -> str:
    if row.misses_bytes is None:
        return _UNKNOWN
    return "yes" if row.fits else f"no {row.misses_bytes / _GIB:.1f}"


def _cost(row: Row, wish: Wish) -> list[str]:
    return [
        row.storage.name,
        _UNKNOWN if row.flops_per_second is None else f"{row.flops_per_second / 1e12:.1f}",
        _UNKNOWN if row.tokens_per_second is None else render.count(row.tokens_per_second),
        row.speed_source,
        *_effort(row, wish),
        render.size(row.checkpoint_bytes),
        _UNKNOWN if row.ssd_bytes_a_month is None else render.size(row.ssd_bytes_a_month),
    ]


def _effort(row: Row, wish: Wish) -> tuple[str, str, str]:
    """Days, kilowatt-hours at the wall, money."""
    days, energy = row.seconds, row.wall_joules
    return (
        _UNKNOWN if days is None else _days(days),
        _UNKNOWN if energy is None else f"{energy / _JOULES_PER_KWH:,.0f}",
        _money(row.money, wish),
    )


def _days(seconds: float) -> str:
    days = seconds / DAY_SECONDS
    return f"{days:,.0f}" if days >= 100 else f"{days:.1f}" if days >= 1 else f"{days:.3f}"


def _money(money: Decimal | None, wish: Wish) -> str:
    if money is None or wish.tariff is None:
        return "-" if wish.tariff is None else _UNKNOWN
    return f"{money:,.2f} {wish.tariff.currency}".strip()


def _instead(options: Sequence[Instead], deadline: float, width: int, glyphs: Glyphs) -> list[str]:
    days = f"{deadline / DAY_SECONDS:,.0f} days"
    if not options:
        return ["", f"Nothing fits this card and {days}."]
    rows = [_option(option) for option in options]
    title = f"What fits this card and {days}, best expected loss first:"
    return ["", title, *render.table(_INSTEAD, rows, width, glyphs)]


def _option(option: Instead) -> list[str]:
    answer = option.estimate
    return [
        f"d{answer.wish.model.depth}",
        count(answer.parameters),
        option.row.storage.name,
        count(answer.wish.tokens),
        f"{option.tokens_per_parameter:.1f}",
        *_effort(option.row, answer.wish),
        f"{answer.data.shards_needed:,}",
        f"{option.expected_loss:.3f}",
    ]


def _notes(answer: Estimate) -> list[str]:
    return [
        *statement.assumptions(answer),
        "RATIO: tokens for each parameter of blocks and head; about 10.5 is the best use of a "
        "given time. LOSS: by a scaling law (orchestrator/planning/estimate_quality.py), good "
        "for the order only",
    ]


def _wrapped(paragraphs: Iterable[str], width: int) -> list[str]:
    return [line for paragraph in paragraphs for line in render.wrap(paragraph, width)]


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}" if size < 10 * _GIB else f"{size / _GIB:.1f}"


def count(number: float) -> str:
    """``38B``, ``7.52B``, ``737M``: as the command's own options are written."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"
