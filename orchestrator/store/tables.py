"""The schema. Attribute names are those of ``orchestrator.domain``; rows are its values at rest."""

from __future__ import annotations

import dataclasses
import enum
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeEngine

from orchestrator.domain import AttemptEnd, Effect, Reason, RunState
from orchestrator.piloting.goals import GoalKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: SQLite numbers rows by itself only in columns declared INTEGER; those hold 64 bits there
IDENTITY = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: timestamptz on PostgreSQL, ISO 8601 text of fixed width on SQLite.

    Fixed width makes the order of the texts the order of the instants.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        native = dialect.name == "postgresql"
        return dialect.type_descriptor(DateTime(timezone=True) if native else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"naive time {value}: the store takes aware times only")
        value = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return value
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return instant.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """Text from anywhere: an infant model's sample, a log's last lines.

    NUL and lone surrogates, which databases refuse, become the replacement character.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return whole(value).replace("\0", "\ufffd")


class Number(TypeDecorator[float]):
    """A double. NaN is stored as NULL, for that is what SQLite makes of it."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)


class Exact(TypeDecorator[Decimal]):
    """A decimal number as its own text: SQLite would make a double of any number."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        if value is not None and not value.is_finite():
            raise ValueError(f"no number: {value}")
        return None if value is None else format(value.normalize(), "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Base(DeclarativeBase):
    """All tables of the store."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration, never changed
        datetime: UtcDateTime(),
        str: AnyText(),
        int: BigInteger(),
        float: Number(),
        Decimal: Exact(),
        dict[str, Any]: JSON(),
        enum.Enum: Enum(
            enum.Enum,
            native_enum=False,
            length=32,
            values_callable=lambda members: [member.value for member in members],
        ),
    }


class RunRow(Base):
    """A run; ``id`` is its place in the order of submission, which clocks cannot disturb."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(IDENTITY, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[RunState]
    priority: Mapped[int]
    created: Mapped[datetime]
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str]
    finished: Mapped[datetime | None]
    steps: Mapped[int | None]
    parameters: Mapped[int | None]
    bits_per_byte_before: Mapped[float | None]
    bits_per_byte: Mapped[float | None]
    sample: Mapped[str | None]
    model_path: Mapped[str | None]


class AttemptRow(Base):
    """One life of the trainer. The column of ``end`` is no reserved word of SQL."""

    __tablename__ = "attempts"

    run: Mapped[str] = mapped_column(ForeignKey("runs.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started: Mapped[datetime]
    first_step: Mapped[int | None]
    last_step: Mapped[int | None]
    ended: Mapped[datetime | None]
    end: Mapped[AttemptEnd | None] = mapped_column("outcome")
    cause: Mapped[str]


class CheckpointRow(Base):
    """The index of checkpoints; the directories on disk are the truth."""

    __tablename__ = "checkpoints"

    run: Mapped[str] = mapped_column(ForeignKey("runs.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
    created: Mapped[datetime]
    size_bytes: Mapped[int]
    attempt: Mapped[int]
    reason: Mapped[str]
    write_seconds: Mapped[float | None]
    stall_seconds: Mapped[float | None]


class HoldRow(Base):
    """A hold; it stays here after it has ended."""

    __tablename__ = "holds"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own declaration

    id: Mapped[int] = mapped_column(IDENTITY, primary_key=True)
    reason: Mapped[Reason]
    effect: Mapped[Effect]
    source: Mapped[str]
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    detail: Mapped[str]
    run: Mapped[str | None] = mapped_column(ForeignKey("runs.name"))
    cap_watts: Mapped[float | None]
    ended: Mapped[datetime | None]


class JournalRow(Base):
    """An entry; ``run`` is no foreign key, for the journal also tells what was refused."""

    __tablename__ = "journal"
    __table_args__ = (Index("ix_journal_run", "run", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(IDENTITY, primary_key=True)
    time: Mapped[datetime]
    kind: Mapped[str]
    message: Mapped[str]
    severity: Mapped[str]
    run: Mapped[str | None]
    data: Mapped[dict[str, Any]]


class CounterRow(Base):
    """A total that never falls; ``run`` may name what is no run, like the daemon itself."""

    __tablename__ = "counters"

    run: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class SampleRow(Base):
    """A point of the learning curve; a loss of NULL was not a number."""

    __tablename__ = "samples"

    run: Mapped[str] = mapped_column(ForeignKey("runs.name"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    loss: Mapped[float | None]
    tokens_per_second: Mapped[float | None]
    bits_per_byte: Mapped[float | None]
    watts: Mapped[float | None]


class HeartbeatRow(Base):
    """When the daemon was last alive: one row."""

    __tablename__ = "heartbeat"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    boot_id: Mapped[str]


class PriceRow(Base):
    """A published price; a price of NULL was withdrawn. Old revisions stay."""

    __tablename__ = "prices"

    service: Mapped[str] = mapped_column(primary_key=True)
    area: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    start: Mapped[datetime] = mapped_column("begins", primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end: Mapped[datetime] = mapped_column("ends")
    price: Mapped[Decimal | None]
    fetched: Mapped[datetime]


class LedgerRow(Base):
    """Energy inside one price slot, with the rating that it was written with. Never changed."""

    __tablename__ = "ledger"
    __table_args__ = (Index("ix_ledger_begins", "begins"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(IDENTITY, primary_key=True)
    run: Mapped[str | None]
    start: Mapped[datetime] = mapped_column("begins")
    end: Mapped[datetime] = mapped_column("ends")
    microjoules: Mapped[int]
    source: Mapped[str]
    measured: Mapped[bool]
    tokens: Mapped[int]
    price: Mapped[Decimal | None]
    currency: Mapped[str]
    certainty: Mapped[str]
    tariff: Mapped[str]
    cost: Mapped[Decimal | None]


class LedgerRatingRow(Base):
    """A later rating of a row of the ledger; the newest revision counts, none is overwritten."""

    __tablename__ = "ledger_ratings"

    entry: Mapped[int] = mapped_column(ForeignKey("ledger.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rated: Mapped[datetime]
    price: Mapped[Decimal | None]
    currency: Mapped[str]
    certainty: Mapped[str]
    tariff: Mapped[str]
    cost: Mapped[Decimal | None]


class GoalRow(Base):
    """What the plan of a run is for."""

    __tablename__ = "goals"

    run: Mapped[str] = mapped_column(ForeignKey("runs.name"), primary_key=True)
    kind: Mapped[GoalKind]
    since: Mapped[datetime]
    deadline: Mapped[datetime | None]
    slack: Mapped[float | None]
    money: Mapped[Decimal | None]
    tokens_left: Mapped[int | None]
    usual: Mapped[bool]


class LevelReadingRow(Base):
    """What a run gave and took at one power limit of the card; 0 milliwatts: none was set."""

    __tablename__ = "level_readings"

    run: Mapped[str] = mapped_column(ForeignKey("runs.name"), primary_key=True)
    milliwatts: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tokens_per_second: Mapped[float]
    wall_watts: Mapped[float | None]
    seconds: Mapped[float]


def whole(value: str) -> str:
    """The text without lone surrogates, which no encoding can carry."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write(session: Session, row: Base) -> None:
    """Insert or update the row now, and read back what was really stored."""
    session.add(row)
    session.flush()
    session.refresh(row)


def value_of(cls: type[T], row: Base) -> T:
    """The row as the domain's frozen value of the same field names."""
    return cls(**{item.name: getattr(row, item.name) for item in dataclasses.fields(cls)})
