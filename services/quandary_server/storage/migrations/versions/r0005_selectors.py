"""Who reads the fleet log together."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Text, Time

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.create_table(
        "selectors",
        sa.Column("group", Text, primary_key=True),
        sa.Column("member", Text, primary_key=True),
        sa.Column("expires", Time, nullable=False),
    )
