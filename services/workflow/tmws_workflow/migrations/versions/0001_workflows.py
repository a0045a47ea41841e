"""Workflows, their versions, executions, steps and journal; the inbox and the kept answers."""

from tmws_shared.events import INBOX_DDL
from tmws_shared.idempotency import TABLE_DDL as IDEMPOTENCY_DDL
from tmws_shared.migrations import run_script

revision = "0001"
down_revision = None

DDL = """
CREATE TYPE workflow_type AS ENUM ('sequential', 'parallel', 'dag');
CREATE TYPE workflow_priority AS ENUM ('low', 'medium', 'high', 'urgent');
CREATE TYPE execution_status AS ENUM
    ('pending', 'running', 'cancelling', 'completed', 'failed', 'cancelled', 'timed_out');
CREATE TYPE step_status AS ENUM
    ('pending', 'ready', 'running', 'waiting', 'completed', 'failed', 'timed_out', 'cancelled', 'skipped');

CREATE TABLE workflows (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name varchar(255) NOT NULL,
    workflow_type workflow_type NOT NULL,
    priority workflow_priority NOT NULL DEFAULT 'medium',
    config jsonb NOT NULL,
    config_version integer NOT NULL DEFAULT 1,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX workflows_newest ON workflows (namespace, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX workflows_deleted ON workflows (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE workflow_versions (
    workflow_id uuid NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    version integer NOT NULL,
    workflow_type workflow_type NOT NULL,
    config jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, version)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME;
END $$;
CREATE TRIGGER workflow_versions_immutable BEFORE UPDATE ON workflow_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE executions (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    workflow_id uuid NOT NULL,
    workflow_version integer NOT NULL,
    status execution_status NOT NULL DEFAULT 'pending',
    outcome execution_status,
    priority workflow_priority NOT NULL,
    parameters jsonb NOT NULL,
    principal jsonb NOT NULL,
    traceparent text,
    open_steps integer NOT NULL CHECK (open_steps >= 0),
    last_seq bigint NOT NULL,
    output jsonb,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    cancel_requested_at timestamptz,
    FOREIGN KEY (workflow_id, workflow_version) REFERENCES workflow_versions (workflow_id, version)
) WITH (fillfactor = 70);
CREATE INDEX executions_latest ON executions (workflow_id, created_at DESC, id DESC);
CREATE INDEX executions_open ON executions (workflow_id) WHERE status IN ('pending', 'running', 'cancelling');
CREATE INDEX executions_cancelling ON executions (id) WHERE status = 'cancelling';

-- Partial indexes keep finished steps out of the way of the queue.
CREATE TABLE step_executions (
    execution_id uuid NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    path text NOT NULL,
    place smallint NOT NULL,
    kind text NOT NULL,
    status step_status NOT NULL,
    unmet integer NOT NULL CHECK (unmet >= 0),
    attempt integer NOT NULL DEFAULT 0,
    lease_losses integer NOT NULL DEFAULT 0,
    fence integer NOT NULL DEFAULT 0,
    sched_key timestamptz,
    lease_owner uuid,
    lease_until timestamptz,
    wait_key text,
    look_at timestamptz,
    timeout_s double precision,
    deadline_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    output jsonb,
    error jsonb,
    PRIMARY KEY (execution_id, path)
) WITH (fillfactor = 70);
CREATE INDEX step_executions_ready ON step_executions (sched_key) WHERE status = 'ready';
CREATE INDEX step_executions_leased ON step_executions (lease_until) WHERE status = 'running';
CREATE INDEX step_executions_waiting ON step_executions (look_at) WHERE status = 'waiting';
CREATE INDEX step_executions_wait_key ON step_executions (wait_key) WHERE status = 'waiting';
CREATE INDEX step_executions_deadline ON step_executions (deadline_at)
    WHERE status IN ('ready', 'waiting') AND deadline_at IS NOT NULL;
CREATE INDEX step_executions_withdraw ON step_executions (look_at)
    WHERE status IN ('cancelled', 'timed_out') AND wait_key IS NOT NULL;

CREATE TABLE events (
    execution_id uuid NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    path text,
    attempt integer,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, seq)
);
"""


def upgrade() -> None:
    run_script(DDL + INBOX_DDL + IDEMPOTENCY_DDL)
