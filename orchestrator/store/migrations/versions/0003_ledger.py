"""The ledger: energy and money, and every correction of a price."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# what the types of orchestrator.store.tables are at rest, frozen here
_TIME = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
_IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """There is no way back: an older homerun takes the backup from before."""
    op.create_table(
        "ledger",
        sa.Column("id", _IDENTITY, primary_key=True),
        sa.Column("run", sa.Text()),
        sa.Column("begins", _TIME, nullable=False),
        sa.Column("ends", _TIME, nullable=False),
        sa.Column("microjoules", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("measured", sa.Boolean(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.Text()),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("tariff", sa.Text(), nullable=False),
        sa.Column("cost", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ledger_begins", "ledger", ["begins"])
    op.create_table(
        "ledger_ratings",
        sa.Column("entry", _IDENTITY, sa.ForeignKey("ledger.id"), primary_key=True),
        sa.Column("revision", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("rated", _TIME, nullable=False),
        sa.Column("price", sa.Text()),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("tariff", sa.Text(), nullable=False),
        sa.Column("cost", sa.Text()),
    )
