"""The index by drive, which the oldest stores lack, and a mark that turns away programs that know no revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Upgrade from the revision before."""
    op.create_index("frames_of_drive", "frames", ["drive_id", "frame_id"], if_not_exists=True)
    version = sa.table("schema_version", sa.column("version", sa.Integer))
    op.execute(version.update().values(version=2))
