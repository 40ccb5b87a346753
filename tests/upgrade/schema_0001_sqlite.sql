CREATE TABLE download_archive (
    id INTEGER NOT NULL,
    bvid VARCHAR(20),
    cid BIGINT,
    url TEXT,
    url_key VARCHAR(64),
    path TEXT NOT NULL,
    size BIGINT,
    codec VARCHAR(20),
    song_id VARCHAR(64),
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT download_archive_page UNIQUE (bvid, cid),
    CONSTRAINT download_archive_url UNIQUE (url_key)
);

CREATE TABLE node (
    id VARCHAR(255) NOT NULL,
    started_ms BIGINT NOT NULL,
    heartbeat_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE public_store (
    "key" VARCHAR(255) NOT NULL,
    value TEXT NOT NULL,
    expires_at_ms BIGINT,
    PRIMARY KEY ("key")
);

CREATE INDEX public_store_expires ON public_store (expires_at_ms);

CREATE TABLE schedule_fire (
    schedule_id VARCHAR(36) NOT NULL,
    nominal BIGINT NOT NULL,
    outcome VARCHAR(20) NOT NULL,
    task_id VARCHAR(36),
    node VARCHAR(255),
    unsent BOOLEAN DEFAULT 0 NOT NULL,
    task TEXT,
    PRIMARY KEY (schedule_id, nominal)
);

CREATE INDEX schedule_fire_nominal ON schedule_fire (nominal);

CREATE INDEX schedule_fire_unsent ON schedule_fire (nominal) WHERE task IS NOT NULL;

CREATE TABLE scheduler_task (
    task_id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    task_type VARCHAR(100) NOT NULL,
    params TEXT,
    schedule_type VARCHAR(20) NOT NULL,
    interval_seconds INTEGER,
    cron_expression VARCHAR(255),
    execute_at BIGINT,
    last_run_at BIGINT,
    next_run_at BIGINT,
    run_count INTEGER DEFAULT '0',
    max_runs INTEGER DEFAULT '0',
    enabled BOOLEAN DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    description TEXT,
    due_at_ms BIGINT,
    timezone VARCHAR(64),
    misfire_window INTEGER,
    coalesce VARCHAR(20) DEFAULT 'latest' NOT NULL,
    overlap VARCHAR(20) DEFAULT 'allow' NOT NULL,
    jitter INTEGER DEFAULT '0' NOT NULL,
    start_at BIGINT,
    end_at BIGINT,
    priority INTEGER DEFAULT '0' NOT NULL,
    max_retries INTEGER,
    timeout_seconds DOUBLE,
    missed_count INTEGER DEFAULT '0' NOT NULL,
    skipped_count INTEGER DEFAULT '0' NOT NULL,
    version INTEGER DEFAULT '1' NOT NULL,
    PRIMARY KEY (task_id)
);

CREATE INDEX scheduler_task_due ON scheduler_task (enabled, due_at_ms);

CREATE TABLE task_queue (
    task_id VARCHAR(36) NOT NULL,
    task_type VARCHAR(100) NOT NULL,
    params TEXT,
    status VARCHAR(20) DEFAULT 'pending',
    priority INTEGER DEFAULT '0',
    retry_count INTEGER DEFAULT '0',
    max_retries INTEGER DEFAULT '3',
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    error_message TEXT,
    scheduler_task_id VARCHAR(36),
    timeout_seconds DOUBLE,
    run_at_ms BIGINT,
    unique_key VARCHAR(255),
    group_key VARCHAR(255),
    fire_at BIGINT,
    extra TEXT,
    position BIGINT DEFAULT '0' NOT NULL,
    crash_count INTEGER DEFAULT '0' NOT NULL,
    snooze_count INTEGER DEFAULT '0' NOT NULL,
    interrupt_count INTEGER DEFAULT '0' NOT NULL,
    errors TEXT,
    result TEXT,
    progress TEXT,
    cancel_requested_ms BIGINT,
    cancel_reason TEXT,
    lease_owner VARCHAR(255),
    lease_token VARCHAR(36),
    lease_until_ms BIGINT,
    PRIMARY KEY (task_id)
);

CREATE INDEX task_queue_ended ON task_queue (status, completed_at) WHERE completed_at IS NOT NULL;

CREATE INDEX task_queue_later ON task_queue (run_at_ms) WHERE status = 'scheduled';

CREATE INDEX task_queue_leases ON task_queue (lease_until_ms) WHERE status = 'running';

CREATE INDEX task_queue_line ON task_queue (task_type, priority, position) WHERE status = 'pending';

CREATE INDEX task_queue_of_schedule ON task_queue (scheduler_task_id) WHERE scheduler_task_id IS NOT NULL AND status IN ('pending', 'running', 'scheduled');

CREATE INDEX task_queue_position ON task_queue (position);

CREATE TABLE musicq_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);

INSERT INTO musicq_version (version_num) VALUES ('0001');
