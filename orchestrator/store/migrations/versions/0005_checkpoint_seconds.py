"""What each checkpoint took: the writer's time, and the training's."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There is no way back: an older homerun takes the backup from before."""
    op.add_column("checkpoints", sa.Column("write_seconds", sa.Double()))
    op.add_column("checkpoints", sa.Column("stall_seconds", sa.Double()))
