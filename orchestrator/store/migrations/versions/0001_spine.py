"""The spine: runs, attempts, checkpoints, holds, journal, counters, samples, heartbeat."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# what the types of orchestrator.store.tables are at rest, frozen here
_IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
_WORD = sa.String(32)


def upgrade() -> None:
    """There is no way back: an older homerun takes the backup from before."""
    _create_runs()
    _create_what_runs_own()
    _create_holds()
    _create_records()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _IDENTITY, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_digest", sa.Text(), nullable=False),
        sa.Column("finished", _TIME),
        sa.Column("steps", sa.BigInteger()),
        sa.Column("parameters", sa.BigInteger()),
        sa.Column("bits_per_byte_before", sa.Double()),
        sa.Column("bits_per_byte", sa.Double()),
        sa.Column("sample", sa.Text()),
        sa.Column("model_path", sa.Text()),
        sa.UniqueConstraint("name", name="uq_runs_name"),
    )


def _create_what_runs_own() -> None:
    op.create_table(
        "attempts",
        _run("attempts", primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("first_step", sa.BigInteger()),
        sa.Column("last_step", sa.BigInteger()),
        sa.Column("ended", _TIME),
        sa.Column("outcome", _WORD),
        sa.Column("cause", sa.Text(), nullable=False),
    )
    op.create_table(
        "checkpoints",
        _run("checkpoints", primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "samples",
        _run("samples", primary_key=True),
        sa.Column("step", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("loss", sa.Double()),
        sa.Column("tokens_per_second", sa.Double()),
        sa.Column("bits_per_byte", sa.Double()),
        sa.Column("watts", sa.Double()),
    )


def _create_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", _IDENTITY, primary_key=True),
        sa.Column("reason", _WORD, nullable=False),
        sa.Column("effect", _WORD, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("until", _TIME),
        sa.Column("detail", sa.Text(), nullable=False),
        _run("holds", primary_key=False),
        sa.Column("cap_watts", sa.Double()),
        sa.Column("ended", _TIME),
        sqlite_autoincrement=True,
    )


def _create_records() -> None:
    op.create_table(
        "journal",
        sa.Column("id", _IDENTITY, primary_key=True),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("run", sa.Text()),
        sa.Column("data", sa.JSON(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_run", "journal", ["run", "id"])
    op.create_table(
        "counters",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.Double(), nullable=False),
    )
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
    )


def _run(table: str, *, primary_key: bool) -> sa.Column[str]:
    owner = sa.ForeignKey("runs.name", name=f"fk_{table}_run")
    return sa.Column("run", sa.Text(), owner, primary_key=primary_key, nullable=not primary_key)
