"""Near copies wait folded under another frame; where the vehicle was, to tell what is near."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Text

revision = "0004"
down_revision = "0003"

IS_FOLDED = sa.text("folded_under IS NOT NULL")


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.add_column("tasks", sa.Column("folded_under", Text))
    op.add_column("frames", sa.Column("ego_position_m", sa.JSON))
    op.create_index("folded_tasks", "tasks", ["queue", "folded_under"], sqlite_where=IS_FOLDED, postgresql_where=IS_FOLDED)
