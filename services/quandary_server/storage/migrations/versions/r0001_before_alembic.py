"""The schema of the stores that were made before there were revisions (`schema_version` 1), for PostgreSQL too."""

import sqlalchemy as sa
from alembic import op

from quandary_server.storage.columns import Serial, Text, Time

revision = "0001"
down_revision = None

WAITS, LEASED = sa.text("state = 'waiting'"), sa.text("state = 'leased'")
CLOSED, RUNNING = sa.text("state != 'waiting' AND state != 'leased'"), sa.text("state = 'running'")

# rows that change all the time: their dead ones stand in the way of each lease until they are removed
VACUUMED_EARLY = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"}


def upgrade() -> None:
    """Make the tables, and the rows that every store has."""
    _tasks()
    _labels()
    _runs()
    _logs()
    _own()


def _tasks() -> None:
    op.create_table("queues", sa.Column("name", Text, primary_key=True))
    op.create_table(
        "frames",
        sa.Column("frame_id", Text, primary_key=True),
        sa.Column("drive_id", Text, nullable=False),
        sa.Column("stamp", Time, nullable=False),
        sa.Column("crops", sa.Integer, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("queue", Text, sa.ForeignKey("queues.name"), primary_key=True),
        sa.Column("frame_id", Text, sa.ForeignKey("frames.frame_id"), primary_key=True),
        sa.Column("state", _one_of("taskstate", "waiting", "leased", "acknowledged", "skipped", "dead_letter"), nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("band", sa.Integer, nullable=False),
        sa.Column("rank", sa.BigInteger),
        sa.Column("score", sa.Double),
        sa.Column("generation", Text, nullable=False),
        sa.Column("shuffle", sa.BigInteger, nullable=False),
        sa.Column("lease_key", sa.LargeBinary, nullable=False),
        sa.Column("enqueued", Time, nullable=False),
        sa.Column("failed_leases", sa.Integer, nullable=False),
        sa.Column("lease_token", Text),
        sa.Column("lease_holder", Text),
        sa.Column("lease_expires", Time),
        sa.Column("closed_by", Text, nullable=False),
        sa.Column("skip_reason", Text, nullable=False),
        sa.Column("skip_comment", Text, nullable=False),
        sa.CheckConstraint("(score IS NULL) = (generation = '')", name="scored_by_a_generation"),
        sa.CheckConstraint("(state = 'leased') = (lease_token IS NOT NULL)", name="leased_under_a_token"),
        postgresql_with=VACUUMED_EARLY,
    )
    in_order = ["queue", "lease_key", "generation", "enqueued"]
    op.create_index("waiting_in_order", "tasks", in_order, sqlite_where=WAITS, postgresql_where=WAITS)
    op.create_index("leased_until", "tasks", ["lease_expires", "queue"], sqlite_where=LEASED, postgresql_where=LEASED)
    op.create_index("closed_tasks", "tasks", ["queue", "state"], sqlite_where=CLOSED, postgresql_where=CLOSED)
    op.create_index("tasks_of_frame", "tasks", ["frame_id"])
    op.create_table(
        "frame_scores",
        sa.Column("queue", Text, primary_key=True),
        sa.Column("frame_id", Text, primary_key=True),
        sa.Column("frame_score", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["queue", "frame_id"], ["tasks.queue", "tasks.frame_id"]),
        postgresql_with=VACUUMED_EARLY,
    )


def _labels() -> None:
    op.create_table(
        "labels",
        sa.Column("frame_id", Text, sa.ForeignKey("frames.frame_id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("queue", Text, sa.ForeignKey("queues.name"), nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("ignored_regions", sa.JSON, nullable=False),
        sa.Column("seconds_spent", sa.Double, nullable=False),
        sa.Column("prelabel_generation", Text, nullable=False),
        sa.Column("labeller", Text, nullable=False),
        sa.Column("label_time", Time, nullable=False),
        sa.Column("lease_token", Text, nullable=False),
    )


def _runs() -> None:
    stages = ("snapshot", "training", "export", "gates", "register", "shadow", "promote", "done")
    op.create_table(
        "runs",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("state", _one_of("runstate", "running", "succeeded", "refused", "failed", "cancelled"), nullable=False),
        sa.Column("stage", _one_of("runstage", *stages), nullable=False),
        sa.Column("stage_progress", sa.Double, nullable=False),
        sa.Column("trigger", _one_of("runtrigger", "call", "labels", "interval", "drift"), nullable=False),
        sa.Column("requester", Text, nullable=False),
        sa.Column("start_time", Time, nullable=False),
        sa.Column("end_time", Time),
        sa.Column("heartbeat", Time, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("label_sequence", sa.BigInteger, nullable=False),
        sa.Column("training_frames", sa.Integer, nullable=False),
        sa.Column("training_crops", sa.Integer, nullable=False),
        sa.Column("control_crops", sa.Integer, nullable=False),
        sa.Column("generation", Text, nullable=False),
        sa.Column("gates", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("error", Text, nullable=False),
    )
    op.create_index("one_run_at_a_time", "runs", ["state"], unique=True, sqlite_where=RUNNING, postgresql_where=RUNNING)


def _logs() -> None:
    op.create_table(
        "offsets",
        sa.Column("log", Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("time", Time, nullable=False),
    )
    op.create_table(
        "rejected",
        sa.Column("log", Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("frame_id", Text, nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("time", Time, nullable=False),
    )


def _own() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Serial, primary_key=True),
        sa.Column("time", Time, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("queue", Text, nullable=False),
        sa.Column("frame_id", Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_of_task", "audit", ["queue", "frame_id", "id"])
    counters = op.create_table(
        "counters", sa.Column("name", Text, primary_key=True), sa.Column("value", sa.BigInteger, nullable=False)
    )
    version = op.create_table("schema_version", sa.Column("kind", Text), sa.Column("version", sa.Integer))
    op.bulk_insert(sa.table("queues", sa.column("name")), [{"name": "active"}, {"name": "control"}])
    op.bulk_insert(counters, [{"name": "labels", "value": 0}, {"name": "runs", "value": 0}])
    op.bulk_insert(version, [{"kind": "Quandary store", "version": 1}])


def _one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True)
