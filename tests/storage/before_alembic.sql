BEGIN TRANSACTION;
CREATE TABLE audit (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	time DATETIME NOT NULL,
	subject VARCHAR NOT NULL,
	action VARCHAR NOT NULL,
	queue VARCHAR NOT NULL,
	frame_id VARCHAR NOT NULL,
	details JSON NOT NULL
);
INSERT INTO "audit" VALUES(1,'2026-01-01 12:00:00.000000','ada','lease','active','f000','{"expires":"2125-12-08T12:00:00+00:00","band":"active_learning","rank":"0","score":"0.5","generation":"g1"}');
INSERT INTO "audit" VALUES(2,'2026-01-01 12:00:00.000000','ada','lease','active','f002','{"expires":"2125-12-08T12:00:00+00:00","band":"active_learning","score":"0.75","generation":"g1"}');
INSERT INTO "audit" VALUES(3,'2026-01-01 12:00:00.000000','ada','acknowledge','active','f000','{"labels":"1"}');
CREATE TABLE counters (
	name VARCHAR NOT NULL,
	value BIGINT NOT NULL,
	PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('labels',1);
INSERT INTO "counters" VALUES('runs',1);
CREATE TABLE frame_scores (
	queue VARCHAR NOT NULL,
	frame_id VARCHAR NOT NULL,
	frame_score BLOB NOT NULL,
	PRIMARY KEY (queue, frame_id),
	FOREIGN KEY(queue, frame_id) REFERENCES tasks (queue, frame_id)
);
INSERT INTO "frame_scores" VALUES('active','f000',X'73636F7265');
INSERT INTO "frame_scores" VALUES('active','f001',X'73636F7265');
INSERT INTO "frame_scores" VALUES('active','f002',X'73636F7265');
CREATE TABLE frames (
	frame_id VARCHAR NOT NULL,
	drive_id VARCHAR NOT NULL,
	stamp DATETIME NOT NULL,
	crops INTEGER NOT NULL,
	tags JSON NOT NULL,
	record BLOB NOT NULL,
	PRIMARY KEY (frame_id)
);
INSERT INTO "frames" VALUES('f000','drive-1','2026-01-01 12:00:00.000000',4,'{"city":"Karlsruhe"}',X'7265636F7264206F662066303030');
INSERT INTO "frames" VALUES('f001','drive-1','2026-01-01 12:00:01.000000',4,'{"city":"Karlsruhe"}',X'7265636F7264206F662066303031');
INSERT INTO "frames" VALUES('f002','drive-1','2026-01-01 12:00:02.000000',4,'{"city":"Karlsruhe"}',X'7265636F7264206F662066303032');
INSERT INTO "frames" VALUES('f003','drive-1','2026-01-01 12:00:03.000000',4,'{"city":"Karlsruhe"}',X'7265636F7264206F662066303033');
CREATE TABLE labels (
	frame_id VARCHAR NOT NULL,
	sequence BIGINT NOT NULL,
	queue VARCHAR NOT NULL,
	labels JSON NOT NULL,
	ignored_regions JSON NOT NULL,
	seconds_spent DOUBLE NOT NULL,
	prelabel_generation VARCHAR NOT NULL,
	labeller VARCHAR NOT NULL,
	label_time DATETIME NOT NULL,
	lease_token VARCHAR NOT NULL,
	PRIMARY KEY (frame_id),
	FOREIGN KEY(frame_id) REFERENCES frames (frame_id),
	UNIQUE (sequence),
	FOREIGN KEY(queue) REFERENCES queues (name)
);
INSERT INTO "labels" VALUES('f000',1,'active','[{"class":"Car","box":{"x_m":10.0,"y_m":2.0,"z_m":-1.0,"length_m":4.0,"width_m":1.6,"height_m":1.5,"yaw_rad":0.1}}]','[]',0.0,'','ada','2026-01-01 12:00:00.000000','token-0');
CREATE TABLE offsets (
	log VARCHAR NOT NULL,
	position BIGINT NOT NULL,
	time DATETIME NOT NULL,
	PRIMARY KEY (log)
);
INSERT INTO "offsets" VALUES('sqlite-1',5,'2026-01-01 12:00:00.000000');
CREATE TABLE queues (
	name VARCHAR NOT NULL,
	PRIMARY KEY (name)
);
INSERT INTO "queues" VALUES('active');
INSERT INTO "queues" VALUES('control');
CREATE TABLE rejected (
	log VARCHAR NOT NULL,
	position BIGINT NOT NULL,
	frame_id VARCHAR NOT NULL,
	reason VARCHAR NOT NULL,
	payload BLOB NOT NULL,
	time DATETIME NOT NULL,
	PRIMARY KEY (log, position)
);
INSERT INTO "rejected" VALUES('sqlite-1',5,'f009','no FrameRecord',X'00FF','2026-01-01 12:00:00.000000');
CREATE TABLE runs (
	number BIGINT NOT NULL,
	state VARCHAR(9) NOT NULL,
	stage VARCHAR(8) NOT NULL,
	stage_progress DOUBLE NOT NULL,
	"trigger" VARCHAR(8) NOT NULL,
	requester VARCHAR NOT NULL,
	start_time DATETIME NOT NULL,
	end_time DATETIME,
	heartbeat DATETIME NOT NULL,
	settings JSON NOT NULL,
	label_sequence BIGINT NOT NULL,
	training_frames INTEGER NOT NULL,
	training_crops INTEGER NOT NULL,
	control_crops INTEGER NOT NULL,
	generation VARCHAR NOT NULL,
	gates JSON NOT NULL,
	metrics JSON NOT NULL,
	error VARCHAR NOT NULL,
	PRIMARY KEY (number),
	CONSTRAINT runstate CHECK (state IN ('running', 'succeeded', 'refused', 'failed', 'cancelled')),
	CONSTRAINT runstage CHECK (stage IN ('snapshot', 'training', 'export', 'gates', 'register', 'shadow', 'promote', 'done')),
	CONSTRAINT runtrigger CHECK ("trigger" IN ('call', 'labels', 'interval', 'drift'))
);
INSERT INTO "runs" VALUES(1,'refused','done',1.0,'call','ada','2026-01-01 12:00:00.000000','2026-01-01 12:00:00.000000','2026-01-01 12:00:00.000000','{}',1,0,0,0,'','[]','{}','nll is worse');
CREATE TABLE schema_version (
	kind VARCHAR,
	version INTEGER
);
INSERT INTO "schema_version" VALUES('Quandary store',1);
CREATE TABLE tasks (
	queue VARCHAR NOT NULL,
	frame_id VARCHAR NOT NULL,
	state VARCHAR(12) NOT NULL,
	pinned BOOLEAN NOT NULL,
	band INTEGER NOT NULL,
	rank BIGINT,
	score DOUBLE,
	generation VARCHAR NOT NULL,
	shuffle BIGINT NOT NULL,
	lease_key BLOB NOT NULL,
	enqueued DATETIME NOT NULL,
	failed_leases INTEGER NOT NULL,
	lease_token VARCHAR,
	lease_holder VARCHAR,
	lease_expires DATETIME,
	closed_by VARCHAR NOT NULL,
	skip_reason VARCHAR NOT NULL,
	skip_comment VARCHAR NOT NULL,
	PRIMARY KEY (queue, frame_id),
	CONSTRAINT scored_by_a_generation CHECK ((score IS NULL) = (generation = '')),
	CONSTRAINT leased_under_a_token CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
	FOREIGN KEY(queue) REFERENCES queues (name),
	FOREIGN KEY(frame_id) REFERENCES frames (frame_id),
	CONSTRAINT taskstate CHECK (state IN ('waiting', 'leased', 'acknowledged', 'skipped', 'dead_letter'))
);
INSERT INTO "tasks" VALUES('active','f000','acknowledged',0,3,0,0.5,'g1',7,X'01030000000000000000401FFFFFFFFFFFFF000000000000000766303030','2026-01-01 12:00:00.000000',0,NULL,NULL,NULL,'token-0','','');
INSERT INTO "tasks" VALUES('active','f001','waiting',0,3,NULL,0.25,'g1',7,X'0103FFFFFFFFFFFFFFFF402FFFFFFFFFFFFF000000000000000766303031','2026-01-01 12:00:00.000000',0,NULL,NULL,NULL,'','','');
INSERT INTO "tasks" VALUES('active','f002','leased',0,3,NULL,0.75,'g1',7,X'0103FFFFFFFFFFFFFFFF4017FFFFFFFFFFFF000000000000000766303032','2026-01-01 12:00:00.000000',0,'token-1','ada','2125-12-08 12:00:00.000000','','','');
INSERT INTO "tasks" VALUES('active','f003','waiting',0,3,NULL,NULL,'',7,X'0103FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF000000000000000766303033','2026-01-01 12:00:00.000000',0,NULL,NULL,NULL,'','','');
CREATE INDEX frames_of_drive ON frames (drive_id, frame_id);
CREATE UNIQUE INDEX one_run_at_a_time ON runs (state) WHERE state = 'running';
CREATE INDEX audit_of_task ON audit (queue, frame_id, id);
CREATE INDEX tasks_of_frame ON tasks (frame_id);
CREATE INDEX closed_tasks ON tasks (queue, state) WHERE state != 'waiting' AND state != 'leased';
CREATE INDEX leased_until ON tasks (lease_expires, queue) WHERE state = 'leased';
CREATE INDEX waiting_in_order ON tasks (queue, lease_key, generation, enqueued) WHERE state = 'waiting';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit',3);
COMMIT;
