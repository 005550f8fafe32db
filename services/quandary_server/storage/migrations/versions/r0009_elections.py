"""Who of several selectors ranks, by which generation a queue was ranked last, and what labelled frames look like to one."""

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
    op.create_table(
        "embeddings",
        sa.Column("frame_id", Text, sa.ForeignKey("frames.frame_id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("generation", Text, nullable=False),
        sa.Column("embedding", sa.LargeBinary, nullable=False),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('embeddings', 0)")
    op.add_column("queues", sa.Column("ranked_generation", Text))
