"""What must be said plainly before somebody spends a month. Pure: an estimate as sentences."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.planning.estimate import DAY_SECONDS, Estimate, Row
from trainer.contract.spec import CheckpointSpec
from trainer.sizing import Card

#: of the dense bf16 peak: the bound, good code, ordinary code
PARTS_OF_PEAK = (1.0, 0.6, 0.45)


@dataclass(frozen=True)
class AtPeak:
    """How long the run takes at a part of the card's bf16 peak."""

    part: float
    flops_per_second: float
    seconds: float


def at_peak(flops: float, card: Card) -> tuple[AtPeak, ...]:
    """A line for each of PARTS_OF_PEAK."""
    rates = ((part, part * card.bf16_flops) for part in PARTS_OF_PEAK)
    return tuple(AtPeak(part, rate, flops / rate) for part, rate in rates)


def needed_flops_per_second(flops: float, seconds: float) -> float:
    """Effective FLOP/s that finish the run in so many seconds of computing."""
    return flops / seconds


def plain_words(answer: Estimate, deadline_seconds: float) -> list[str]:
    """The bound by the card, what the deadline needs, and what does not fit."""
    card, wish = answer.wish.card, answer.wish
    if card is None:
        return []
    lines = at_peak(answer.flops, card)
    spans = ", ".join(f"{_span(line.seconds)} at {line.part:.0%}" for line in lines)
    needed = needed_flops_per_second(answer.flops, deadline_seconds)
    said = [
        *_how_long(answer),
        f"In bf16 the {card.name} can do {card.bf16_flops / 1e12:.1f} TFLOPS at the very most: "
        f"{spans} of it. Fewer bits a weight save memory, never time; only low-bit matmuls do.",
        f"In {_span(deadline_seconds)} it would take {_figure(needed / 1e12, 0)} TFLOPS without a "
        f"pause, {_figure(needed / card.bf16_flops, 1)} times the bf16 peak and "
        f"{_figure(needed / card.int8_flops, 1)} times the int8 peak.",
    ]
    missing = [_missing(row) for row in answer.rows if row.fits is False]
    if missing:
        usable = (wish.usable_bytes or 0) / 2**30
        where = "beside a desktop" if wish.desktop else "without a desktop"
        said.append(f"Does not fit the {usable:.1f} GiB {where}: {', '.join(missing)}.")
    return said


def _how_long(answer: Estimate) -> list[str]:
    rows = {row.storage.name: row for row in answer.rows if row.fits and row.seconds}
    spans = {
        name: f"{_span(rows[name].seconds or 0)} {words}"
        for name, words in (("bf16-8bit", "in bf16"), ("int8", "with int8 matmuls"))
        if name in rows
    }
    if not spans:
        return []
    return [f"This run takes about {' and '.join(spans.values())} on this card."]


def _span(seconds: float) -> str:
    """In whole days; a short run in parts of one, or in hours."""
    days = seconds / DAY_SECONDS
    if days < 1:
        return f"{seconds / 3600:.1f} hours"
    return f"{days:,.0f} days" if days >= 10 or days == int(days) else f"{days:.1f} days"


def _figure(value: float, digits: int) -> str:
    """With so many digits behind the point; one that would round to nothing keeps its first."""
    return f"{value:,.{digits}f}" if value >= 10.0**-digits else f"{value:.1g}"


def _missing(row: Row) -> str:
    return f"{row.storage.name} by {(row.misses_bytes or 0) / 2**30:.1f} GiB"


def warnings(answer: Estimate) -> list[str]:
    """What should stop somebody: repeated data above all."""
    data = answer.data
    said = _long_step(answer)
    if data.shards_missing:
        said.append(
            f"the corpus would be read {data.epochs:.2f} times: {data.shards:,} shards are at "
            f"hand, {data.shards_needed:,} are needed, {data.shards_missing:,} are missing"
        )
    return said


def _long_step(answer: Estimate) -> list[str]:
    """Nothing is saved within a step, so one can cost more than a power cut may."""
    speeds = [row.tokens_per_second for row in answer.rows if row.fits is not False]
    fastest = max((speed for speed in speeds if speed), default=None)
    most = CheckpointSpec.most_lost_seconds
    if fastest is None or (seconds := answer.wish.batch_tokens / fastest) <= most:
        return []
    return [
        f"a step of {answer.wish.batch_tokens:,} tokens takes {seconds:,.0f} s at {fastest:,.0f} "
        f"tokens/s, and a power cut costs all of it: the {most:.0f} s of "
        "checkpoint.most_lost_seconds cannot be held; a smaller train.batch_tokens makes it shorter"
    ]


def assumptions(answer: Estimate) -> list[str]:
    """Where the figures are from."""
    sources = {row.speed_source for row in answer.rows}
    measured = answer.wish.measured
    said = []
    if "measured" in sources and measured:
        said.append(f"measured: run {measured.run}, {measured.tokens_per_second:,.0f} tokens/s")
    if "scaled" in sources and measured:
        said.append(f"scaled: assumed, times what run {measured.run} measured over its assumption")
    if "assumed" in sources:
        said.append(
            "assumed: compiled, 76 % of the dense bf16 peak, int8 matmuls 1.9 times as fast "
            "(published, trainer/sizing/speed.py); uncompiled expect about half"
        )
    tariff = answer.wish.tariff
    said.append(
        "money: no tariff configured; write [tariff], or give a flat price with --price-per-kwh"
        if tariff is None
        else f"money: {tariff.price_per_kwh:.4f} {tariff.currency}/kWh, {tariff.source}; "
        "kWh are those at the wall"
    )
    said.append(
        "memory: a model, checked by counting tensors; the CUDA context, 0.45 GiB, and 4 % of "
        "fragmentation are assumed (make gpu-check measures)"
    )
    return said
