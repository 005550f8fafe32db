"""Who carries a run, how often it was resumed, and what it tells."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Notice, Serial, Text, Time

revision = "0008"
down_revision = "0005"


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.add_column("runs", sa.Column("holder", Text, nullable=False, server_default=""))
    op.add_column("runs", sa.Column("resumptions", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "run_log",
        sa.Column("id", Serial, primary_key=True),
        sa.Column("run", sa.BigInteger, sa.ForeignKey("runs.number"), nullable=False),
        sa.Column("time", Time, nullable=False),
        sa.Column("text", Notice, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("log_of_run", "run_log", ["run", "id"])
