"""Published prices, with every revision."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# what the types of orchestrator.store.tables are at rest, frozen here
_TIME = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """There is no way back: an older homerun takes the backup from before."""
    op.create_table(
        "prices",
        sa.Column("service", sa.Text(), primary_key=True),
        sa.Column("area", sa.Text(), primary_key=True),
        sa.Column("currency", sa.Text(), primary_key=True),
        sa.Column("begins", _TIME, primary_key=True),
        sa.Column("revision", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("ends", _TIME, nullable=False),
        sa.Column("price", sa.Text()),
        sa.Column("fetched", _TIME, nullable=False),
    )
