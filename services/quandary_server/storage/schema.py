"""The tables of a store, for SQLite and PostgreSQL alike.

Frames are apart from tasks, and the scores' bytes too, so that a lease rewrites a row of some hundred bytes, not of
kilobytes. `lease_key` is `leasing.order.Place.key` of the columns beside it; whoever writes one of those writes it anew.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    literal,
)
from sqlalchemy.types import Double

from quandary_server.leasing.status import TaskState
from quandary_server.storage.columns import Notice, Serial, Text, Time, named
from quandary_server.storage.run_values import RunStage, RunState, RunTrigger

metadata = MetaData()

# Tells a store from other databases, and programs of before alembic that it is none of theirs any more. What it was
# migrated to stands in alembic's own table.
marker = Table("schema_version", metadata, Column("kind", Text), Column("version", Integer))

# Rows that change all the time: PostgreSQL keeps their dead ones until a vacuum, in the way of each lease.
VACUUMED_EARLY = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"}

queues = Table(
    "queues",
    metadata,
    Column("name", Text, primary_key=True),
    # Whose scores its last query ranked.
    Column("ranked_generation", Text),
)

frames = Table(
    "frames",
    metadata,
    Column("frame_id", Text, primary_key=True),
    Column("drive_id", Text, nullable=False),
    Column("stamp", Time, nullable=False),
    Column("crops", Integer, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("record", LargeBinary, nullable=False),
    # x, y, z of the LiDAR in the drive's frame, in metres; null where it is not known.
    Column("ego_position_m", JSON(none_as_null=True)),
)

# Finds the queue that a drive has.
Index("frames_of_drive", frames.c.drive_id, frames.c.frame_id)

tasks = Table(
    "tasks",
    metadata,
    Column("queue", ForeignKey(queues.c.name), primary_key=True),
    Column("frame_id", ForeignKey(frames.c.frame_id), primary_key=True),
    Column("state", named(TaskState), nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("band", Integer, nullable=False),
    # With the epoch of the query that gave it: `Place.rank_in_epoch`.
    Column("rank", BigInteger),
    Column("score", Double),
    Column("generation", Text, nullable=False),
    Column("shuffle", BigInteger, nullable=False),
    Column("lease_key", LargeBinary, nullable=False),
    Column("enqueued", Time, nullable=False),
    Column("failed_leases", Integer, nullable=False),
    Column("lease_token", Text),
    Column("lease_holder", Text),
    Column("lease_expires", Time),
    Column("closed_by", Text, nullable=False),
    Column("skip_reason", Text, nullable=False),
    Column("skip_comment", Text, nullable=False),
    # The frame that this one is a near copy of, and not leased beside; cleared by the next score or query.
    Column("folded_under", Text),
    CheckConstraint("(score IS NULL) = (generation = '')", name="scored_by_a_generation"),
    CheckConstraint("(state = 'leased') = (lease_token IS NOT NULL)", name="leased_under_a_token"),
    postgresql_with=VACUUMED_EARLY,
)

# A literal, since a partial index serves only queries whose text repeats its condition.
WAITS = tasks.c.state == literal(TaskState.WAITING, tasks.c.state.type, literal_execute=True)
LEASED = tasks.c.state == literal(TaskState.LEASED, tasks.c.state.type, literal_execute=True)
CLOSED = ~WAITS & ~LEASED
IS_FOLDED = tasks.c.folded_under.is_not(None)

# Carries the lease order. What is counted of the waiting rides along, so that neither counting them nor finding those behind
# reads the table. Indexes cost a page each per leased task (no other does): hence no index over all states.
Index(
    "waiting_in_order",
    tasks.c.queue,
    tasks.c.lease_key,
    tasks.c.generation,
    tasks.c.enqueued,
    sqlite_where=WAITS,
    postgresql_where=WAITS,
)
Index("leased_until", tasks.c.lease_expires, tasks.c.queue, sqlite_where=LEASED, postgresql_where=LEASED)
Index("closed_tasks", tasks.c.queue, tasks.c.state, sqlite_where=CLOSED, postgresql_where=CLOSED)
Index("tasks_of_frame", tasks.c.frame_id)
Index("folded_tasks", tasks.c.queue, tasks.c.folded_under, sqlite_where=IS_FOLDED, postgresql_where=IS_FOLDED)

# Who is not to get a task again. The subject stands before the frame, since a lease asks for one subject and many frames.
exclusions = Table(
    "exclusions",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("frame_id", Text, primary_key=True),
    ForeignKeyConstraint(["queue", "frame_id"], [tasks.c.queue, tasks.c.frame_id]),
)

frame_scores = Table(
    "frame_scores",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("frame_id", Text, primary_key=True),
    Column("frame_score", LargeBinary, nullable=False),
    ForeignKeyConstraint(["queue", "frame_id"], [tasks.c.queue, tasks.c.frame_id]),
    postgresql_with=VACUUMED_EARLY,
)

labels = Table(
    "labels",
    metadata,
    Column("frame_id", ForeignKey(frames.c.frame_id), primary_key=True),
    # Grows with every change and follows the order of the commits, on PostgreSQL too: see counters.
    Column("sequence", BigInteger, nullable=False, unique=True),
    Column("queue", ForeignKey(queues.c.name), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("ignored_regions", JSON, nullable=False),
    Column("seconds_spent", Double, nullable=False),
    Column("prelabel_generation", Text, nullable=False),
    Column("labeller", Text, nullable=False),
    Column("label_time", Time, nullable=False),
    # The lease under which they were handed in; empty for an import.
    Column("lease_token", Text, nullable=False),
)

# What labelled frames look like to one generation: the mean of their objects' unit embeddings, at length 1, as float32.
embeddings = Table(
    "embeddings",
    metadata,
    Column("frame_id", ForeignKey(frames.c.frame_id), primary_key=True),
    # Grows with every row written, for those who keep up with them.
    Column("sequence", BigInteger, nullable=False, unique=True),
    Column("generation", Text, nullable=False),
    Column("embedding", LargeBinary, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("state", named(RunState), nullable=False),
    Column("stage", named(RunStage), nullable=False),
    Column("stage_progress", Double, nullable=False),
    Column("trigger", named(RunTrigger), nullable=False),
    Column("requester", Text, nullable=False),
    Column("start_time", Time, nullable=False),
    Column("end_time", Time),
    Column("heartbeat", Time, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("label_sequence", BigInteger, nullable=False),
    Column("training_frames", Integer, nullable=False),
    Column("training_crops", Integer, nullable=False),
    Column("control_crops", Integer, nullable=False),
    Column("generation", Text, nullable=False),
    Column("gates", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("error", Notice, nullable=False),
    # Which trainer carries it; empty where one let go of it as it stopped.
    Column("holder", Text, nullable=False, server_default=""),
    Column("resumptions", Integer, nullable=False, server_default="0"),
)
RUNNING = runs.c.state == literal(RunState.RUNNING, runs.c.state.type, literal_execute=True)
Index("one_run_at_a_time", runs.c.state, unique=True, sqlite_where=RUNNING, postgresql_where=RUNNING)

# What a run tells as it goes, for people.
run_log = Table(
    "run_log",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("run", ForeignKey(runs.c.number), nullable=False),
    Column("time", Time, nullable=False),
    Column("text", Notice, nullable=False),
    sqlite_autoincrement=True,
)
Index("log_of_run", run_log.c.run, run_log.c.id)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("time", Time, nullable=False),
    Column("subject", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("frame_id", Text, nullable=False),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)
Index("audit_of_task", audit.c.queue, audit.c.frame_id, audit.c.id)

offsets = Table(
    "offsets",
    metadata,
    Column("log", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("time", Time, nullable=False),
)

# Who reads the fleet log together; a member that does not renew its row has died, and others take its share.
selectors = Table(
    "selectors",
    metadata,
    Column("group", Text, primary_key=True),
    Column("member", Text, primary_key=True),
    Column("expires", Time, nullable=False),
)

# Who does what one process at a time may do. The term grows with each who is elected, and fences the one before.
elections = Table(
    "elections",
    metadata,
    Column("office", Text, primary_key=True),
    Column("member", Text, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("expires", Time, nullable=False),
)

rejected = Table(
    "rejected",
    metadata,
    Column("log", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("frame_id", Notice, nullable=False),
    Column("reason", Notice, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("time", Time, nullable=False),
)

# Numbers are drawn by updating a row, which holds every other writer off until the commit: so numbers follow the order of
# the commits without gaps, which a sequence of PostgreSQL does not promise.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
