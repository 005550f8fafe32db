"""Who is not to get a task again: a skip for others keeps it from the skipper."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.create_table(
        "exclusions",
        sa.Column("queue", Text, primary_key=True),
        sa.Column("subject", Text, primary_key=True),
        sa.Column("frame_id", Text, primary_key=True),
        sa.ForeignKeyConstraint(["queue", "frame_id"], ["tasks.queue", "tasks.frame_id"]),
    )
