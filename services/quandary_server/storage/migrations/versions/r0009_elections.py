"""Who of several selectors ranks, and by which generation a queue was ranked last."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Text, Time

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.create_table(
        "elections",
        sa.Column("office", Text, primary_key=True),
        sa.Column("member", Text, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("expires", Time, nullable=False),
    )
    op.add_column("queues", sa.Column("ranked_generation", Text))
