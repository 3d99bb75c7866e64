"""What the plan of a run is for, and what its levels of power gave."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# what the types of orchestrator.store.tables are at rest, frozen here
_TIME = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
_WORD = sa.String(32)


def upgrade() -> None:
    """There is no way back: an older homerun takes the backup from before."""
    op.create_table(
        "goals",
        _run("goals"),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("deadline", _TIME),
        sa.Column("slack", sa.Double()),
        sa.Column("money", sa.Text()),
        sa.Column("tokens_left", sa.BigInteger()),
        sa.Column("usual", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "level_readings",
        _run("level_readings"),
        sa.Column("milliwatts", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=False),
        sa.Column("wall_watts", sa.Double()),
        sa.Column("seconds", sa.Double(), nullable=False),
    )


def _run(table: str) -> sa.Column[str]:
    key = sa.ForeignKey("runs.name", name=f"fk_{table}_run")
    return sa.Column("run", sa.Text(), key, primary_key=True)
