"""What a run takes: memory, time, energy, money, disk, data; for every recipe. Pure.

The arithmetic is ``trainer.sizing``'s. A speed that a run measured replaces the assumed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.planning.estimate_data import CORPUS_SHARDS, Data, data_for
from trainer.contract.spec import USUAL_SAVE_SECONDS, CheckpointSpec, ModelSpec, TrainSpec
from trainer.sizing import Card, flops_per_token, parameters
from trainer.sizing.memory import (
    MICRO_BATCHES,
    Memory,
    checkpoint_bytes_of,
    memory,
)
from trainer.sizing.speed import assumed_speed
from trainer.sizing.storage import STORAGES, Storage, summing

#: micro-batches, so many that bf16 gradients are summed up on the host
_MANY = 1 << 30
DAY_SECONDS = 86_400.0
MONTH_SECONDS = 30 * DAY_SECONDS
_JOULES_PER_KWH = 3.6e6
#: what the rest of the machine draws while the card trains
REST_WATTS = 20.0
#: of an ordinary power supply at this load
SUPPLY_EFFICIENCY = 0.88
#: part of the time in which a run really computes: the rest is evaluations, saves, restarts
UPTIME = 0.95


@dataclass(frozen=True)
class Measured:
    """What a run on this machine has shown."""

    run: str
    model: ModelSpec
    #: name of the storage, see ``trainer.sizing.storage``
    recipe: str
    tokens_per_second: float
    #: of the card, as its meter says; None when nothing was metered
    watts: float | None = None


@dataclass(frozen=True)
class Tariff:
    """A price for a kilowatt-hour at the wall."""

    price_per_kwh: Decimal
    currency: str = ""
    #: what it is: fixed, the mean of a year...
    source: str = "fixed"


@dataclass(frozen=True)
class Wish:
    """What somebody wants to train, and on what."""

    model: ModelSpec
    tokens: int
    #: None: a machine whose speed nobody knows before it was measured
    card: Card | None
    recipes: tuple[Storage, ...] = STORAGES
    #: whether a desktop shares the card
    desktop: bool = True
    batch_tokens: int = TrainSpec.batch_tokens
    #: until the run should be finished; None: no wish
    deadline_seconds: float | None = None
    tariff: Tariff | None = None
    #: of the corpus
    shards: int = CORPUS_SHARDS
    measured: Measured | None = None
    save_every_seconds: float = USUAL_SAVE_SECONDS
    #: what checkpoints may write in 30 days ([checkpoint] ssd_terabytes_per_month); 0: no limit
    ssd_bytes_a_month: float = 30e12
    #: sequences in a micro-batch; 0: the most that fit
    micro_batch: int = 0

    @property
    def flops(self) -> float:
        """Of the whole run, in nanochat's count."""
        return self.tokens * flops_per_token(self.model)

    @property
    def usable_bytes(self) -> int | None:
        """Memory of the card that a process can have."""
        if self.card is None:
            return None
        return self.card.desktop_bytes if self.desktop else self.card.headless_bytes


@dataclass(frozen=True)
class Row:
    """One recipe's answer. None means unknown."""

    storage: Storage
    memory: Memory
    #: negative when there is room to spare
    misses_bytes: int | None
    tokens_per_second: float | None
    flops_per_second: float | None
    #: "assumed", "measured", "scaled" (assumed, times what another measurement was off), "unknown"
    speed_source: str
    #: of uninterrupted computing
    seconds: float | None
    #: in seconds, with everything that is not computing
    wall_seconds: float | None
    card_joules: float | None
    wall_joules: float | None
    money: Decimal | None
    checkpoint_bytes: int
    #: by the checkpoints of 30 days
    ssd_bytes_a_month: float | None

    @property
    def fits(self) -> bool | None:
        """Whether it fits the card's memory; None when the card is not known."""
        return None if self.misses_bytes is None else self.misses_bytes <= 0


@dataclass(frozen=True)
class Estimate:
    """The answer to a wish."""

    wish: Wish
    parameters: int
    flops: float
    data: Data
    rows: tuple[Row, ...]


def estimate(wish: Wish) -> Estimate:
    """A row for every recipe of the wish."""
    return Estimate(
        wish=wish,
        parameters=parameters(wish.model),
        flops=wish.flops,
        data=data_for(wish.tokens, wish.shards),
        rows=tuple(row(wish, storage) for storage in wish.recipes),
    )


def row(wish: Wish, recipe: Storage) -> Row:
    """What one recipe takes, with the micro-batch that makes it fastest on the card."""
    storage, needed = _setting(wish, recipe)
    usable = wish.usable_bytes
    speed, source = _speed(wish, storage, needed.micro_batch)
    seconds = wish.tokens / speed if speed else None
    card_joules, wall_joules = _energy(wish, storage, seconds)
    checkpoint = checkpoint_bytes_of(wish.model, storage)
    return Row(
        storage=storage,
        memory=needed,
        misses_bytes=None if usable is None else needed.misses(usable),
        tokens_per_second=speed,
        flops_per_second=speed * flops_per_token(wish.model) if speed else None,
        speed_source=source,
        seconds=seconds,
        wall_seconds=seconds / UPTIME if seconds else None,
        card_joules=card_joules,
        wall_joules=wall_joules,
        money=_money(wish.tariff, wall_joules),
        checkpoint_bytes=checkpoint,
        ssd_bytes_a_month=_ssd_bytes(wish, checkpoint, speed, seconds),
    )


def _setting(wish: Wish, recipe: Storage) -> tuple[Storage, Memory]:
    """The fastest micro-batch that fits; the smallest one when none does.

    The fewer sequences, the more micro-batches a step has; above 64 of them, or where the card is
    too small, gradients are summed up on the host, which costs time with each.
    """
    sizes = [wish.micro_batch] if wish.micro_batch else list(_micro_batches(wish))
    settings = []
    for sequences in sizes:
        count = wish.batch_tokens // (sequences * wish.model.sequence_length)
        for storage in dict.fromkeys((summing(recipe, max(1, count)), summing(recipe, _MANY))):
            settings.append((storage, memory(wish.model, storage, sequences)))
    usable = wish.usable_bytes
    fitting = [each for each in settings if usable is not None and each[1].misses(usable) <= 0]
    if not fitting:
        return min(settings, key=lambda each: each[1].peak)
    return max(fitting, key=lambda each: _speed(wish, each[0], each[1].micro_batch)[0] or 0.0)


def _micro_batches(wish: Wish) -> Iterator[int]:
    """Sizes that divide the batch; at least one sequence."""
    sequences = wish.batch_tokens // wish.model.sequence_length
    fitting = [size for size in MICRO_BATCHES if sequences % size == 0]
    yield from fitting or [1]


def _speed(wish: Wish, storage: Storage, micro_batch: int) -> tuple[float | None, str]:
    """Tokens a second, and where the figure is from."""
    measured = wish.measured
    if measured and measured.recipe == storage.name and measured.model == wish.model:
        return measured.tokens_per_second, "measured"
    if wish.card is None:
        return None, "unknown"
    speed = _assumed(wish.model, storage, wish.card, micro_batch, wish.batch_tokens)
    factor = _measured_factor(wish)
    return (speed, "assumed") if factor is None else (speed * factor, "scaled")


def _measured_factor(wish: Wish) -> float | None:
    """How much faster than assumed the card was where it was measured."""
    measured = wish.measured
    storage = next((each for each in STORAGES if measured and each.name == measured.recipe), None)
    if measured is None or storage is None or wish.card is None:
        return None
    micro_batch = wish.micro_batch or MICRO_BATCHES[-1]
    expected = _assumed(measured.model, storage, wish.card, micro_batch, wish.batch_tokens)
    return measured.tokens_per_second / expected


def _assumed(
    model: ModelSpec, storage: Storage, card: Card, micro_batch: int, batch_tokens: int
) -> float:
    return assumed_speed(model, storage, card, micro_batch, batch_tokens).tokens_per_second


def _energy(
    wish: Wish, storage: Storage, seconds: float | None
) -> tuple[float | None, float | None]:
    """Joules of the card, and at the wall."""
    measured = wish.measured
    watts = wish.card.watts if wish.card else None
    if measured and measured.recipe == storage.name and measured.watts:
        watts = measured.watts
    if watts is None or seconds is None:
        return None, None
    return watts * seconds, (watts + REST_WATTS) / SUPPLY_EFFICIENCY * seconds


def _money(tariff: Tariff | None, joules: float | None) -> Decimal | None:
    if tariff is None or joules is None:
        return None
    return tariff.price_per_kwh * Decimal(joules / _JOULES_PER_KWH)


def _ssd_bytes(
    wish: Wish, checkpoint: int, speed: float | None, seconds: float | None
) -> float | None:
    """Written by 30 days of saves, or by all of a shorter run's.

    Wear stretches the interval, as ``trainer.interval`` has it, but never beyond what may be
    lost; and a save happens after a step, so a long step stretches it in any case.
    """
    if speed is None or seconds is None:
        return None
    step = wish.batch_tokens / speed
    wear = checkpoint * MONTH_SECONDS / wish.ssd_bytes_a_month if wish.ssd_bytes_a_month else 0.0
    stretched = min(wear, CheckpointSpec.most_lost_seconds - step)
    interval = max(wish.save_every_seconds, stretched, step)
    return checkpoint * min(MONTH_SECONDS, seconds) / interval
