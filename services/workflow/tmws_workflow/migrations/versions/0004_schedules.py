"""Schedules and when they fired, which workers are alive, and how executions have ended, counted."""

from tmws_shared.migrations import run_script

revision = "0004"
down_revision = "0003"

DDL = """
CREATE TYPE schedule_overlap AS ENUM ('allow', 'skip', 'cancel_previous');
CREATE TYPE schedule_catch_up AS ENUM ('none', 'last');
CREATE TYPE fire_result AS ENUM ('launched', 'skipped', 'missed', 'failed');

CREATE TABLE schedules (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    workflow_id uuid NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    cron text NOT NULL,
    timezone text NOT NULL,
    parameters jsonb NOT NULL,
    priority workflow_priority,
    overlap schedule_overlap NOT NULL,
    catch_up schedule_catch_up NOT NULL,
    catch_up_s integer NOT NULL,
    is_paused boolean NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    next_at timestamptz,
    principal jsonb NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_newest ON schedules (workflow_id, created_at DESC, id DESC);

-- The key is what makes a fire happen once.
CREATE TABLE schedule_fires (
    schedule_id uuid NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    fire_time timestamptz NOT NULL,
    result fire_result NOT NULL,
    execution_id uuid,
    problem jsonb,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule_id, fire_time)
);
CREATE INDEX schedule_fires_at ON schedule_fires (at);

CREATE TABLE workers (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    in_flight integer NOT NULL,
    capacity integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- How executions have ended, by namespace. Whoever ends one only ever appends, so that nobody waits for a counter; a
-- worker adds it up. Open executions are few, and counted when somebody asks.
CREATE TABLE ended_counts (
    namespace text NOT NULL,
    status execution_status NOT NULL,
    executions bigint NOT NULL,
    PRIMARY KEY (namespace, status)
);
CREATE TABLE ended_count_changes (
    namespace text NOT NULL,
    status execution_status NOT NULL,
    executions integer NOT NULL
);
CREATE INDEX ended_count_changes_namespace ON ended_count_changes (namespace);
INSERT INTO ended_counts
    SELECT namespace, status, count(*) FROM executions
    WHERE status IN ('completed', 'failed', 'cancelled', 'timed_out') GROUP BY namespace, status;

CREATE FUNCTION count_ended() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status IN ('completed', 'failed', 'cancelled', 'timed_out') THEN
        INSERT INTO ended_count_changes VALUES (OLD.namespace, OLD.status, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status IN ('completed', 'failed', 'cancelled', 'timed_out') THEN
        INSERT INTO ended_count_changes VALUES (NEW.namespace, NEW.status, 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_inserted AFTER INSERT ON executions FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled', 'timed_out')) EXECUTE FUNCTION count_ended();
CREATE TRIGGER executions_moved AFTER UPDATE OF status ON executions FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (OLD.status IN ('completed', 'failed', 'cancelled', 'timed_out')
          OR NEW.status IN ('completed', 'failed', 'cancelled', 'timed_out')))
    EXECUTE FUNCTION count_ended();
CREATE TRIGGER executions_deleted AFTER DELETE ON executions FOR EACH ROW
    WHEN (OLD.status IN ('completed', 'failed', 'cancelled', 'timed_out')) EXECUTE FUNCTION count_ended();

CREATE INDEX executions_newest ON executions (namespace, created_at DESC, id DESC);
CREATE INDEX executions_unsuccessful ON executions (namespace, created_at DESC, id DESC)
    WHERE status IN ('failed', 'cancelled', 'timed_out');
"""


def upgrade() -> None:
    run_script(DDL)
