CREATE TABLE download_archive (
    id BIGINT NOT NULL AUTO_INCREMENT,
    bvid VARCHAR(20),
    cid BIGINT,
    url MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    url_key VARCHAR(64),
    path MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    size BIGINT,
    codec VARCHAR(20),
    song_id VARCHAR(64),
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT download_archive_page UNIQUE (bvid, cid),
    CONSTRAINT download_archive_url UNIQUE (url_key)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE node (
    id VARCHAR(255) NOT NULL,
    started_ms BIGINT NOT NULL,
    heartbeat_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE public_store (
    `key` VARBINARY(1020) NOT NULL,
    value MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    expires_at_ms BIGINT,
    PRIMARY KEY (`key`)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX public_store_expires ON public_store (expires_at_ms);

CREATE TABLE schedule_fire (
    schedule_id VARCHAR(36) NOT NULL,
    nominal BIGINT NOT NULL,
    outcome VARCHAR(20) NOT NULL,
    task_id VARCHAR(36),
    node VARCHAR(255),
    unsent BOOL NOT NULL DEFAULT false,
    task MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    PRIMARY KEY (schedule_id, nominal)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX schedule_fire_nominal ON schedule_fire (nominal);

CREATE INDEX schedule_fire_unsent ON schedule_fire (unsent);

CREATE TABLE scheduler_task (
    task_id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    task_type VARCHAR(100) NOT NULL,
    params MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    schedule_type VARCHAR(20) NOT NULL,
    interval_seconds INTEGER,
    cron_expression VARCHAR(255),
    execute_at BIGINT,
    last_run_at BIGINT,
    next_run_at BIGINT,
    run_count INTEGER DEFAULT '0',
    max_runs INTEGER DEFAULT '0',
    enabled BOOL DEFAULT true,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    description MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    due_at_ms BIGINT,
    timezone VARCHAR(64),
    misfire_window INTEGER,
    coalesce VARCHAR(20) NOT NULL DEFAULT 'latest',
    overlap VARCHAR(20) NOT NULL DEFAULT 'allow',
    jitter INTEGER NOT NULL DEFAULT '0',
    start_at BIGINT,
    end_at BIGINT,
    priority INTEGER NOT NULL DEFAULT '0',
    max_retries INTEGER,
    timeout_seconds DOUBLE,
    missed_count INTEGER NOT NULL DEFAULT '0',
    skipped_count INTEGER NOT NULL DEFAULT '0',
    version INTEGER NOT NULL DEFAULT '1',
    PRIMARY KEY (task_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX scheduler_task_due ON scheduler_task (enabled, due_at_ms);

CREATE TABLE task_queue (
    task_id VARCHAR(36) NOT NULL,
    task_type VARCHAR(100) NOT NULL,
    params MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    status VARCHAR(20) DEFAULT 'pending',
    priority INTEGER DEFAULT '0',
    retry_count INTEGER DEFAULT '0',
    max_retries INTEGER DEFAULT '3',
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    error_message MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    scheduler_task_id VARCHAR(36),
    timeout_seconds DOUBLE,
    run_at_ms BIGINT,
    unique_key VARCHAR(255),
    group_key VARCHAR(255),
    fire_at BIGINT,
    extra MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    position BIGINT NOT NULL DEFAULT '0',
    crash_count INTEGER NOT NULL DEFAULT '0',
    snooze_count INTEGER NOT NULL DEFAULT '0',
    interrupt_count INTEGER NOT NULL DEFAULT '0',
    errors MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    result MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    progress MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    cancel_requested_ms BIGINT,
    cancel_reason MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    lease_owner VARCHAR(255),
    lease_token VARCHAR(36),
    lease_until_ms BIGINT,
    PRIMARY KEY (task_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX task_queue_line ON task_queue (status, task_type, priority, position);

CREATE INDEX task_queue_of_schedule ON task_queue (scheduler_task_id, status);

CREATE INDEX task_queue_position ON task_queue (position);

CREATE INDEX task_queue_times ON task_queue (status, completed_at, run_at_ms);

CREATE TABLE musicq_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);

INSERT INTO musicq_version (version_num) VALUES ('0001');
