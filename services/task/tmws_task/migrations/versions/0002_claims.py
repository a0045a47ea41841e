"""Claims with leases, inherited priority, full text, history, comments and counts."""

from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

# A value that ALTER TYPE adds cannot be used in the same transaction; the table is rewritten here in any case.
STATUS = """
DROP INDEX tasks_open;
ALTER TABLE tasks ALTER COLUMN status DROP DEFAULT;
ALTER TYPE task_status RENAME TO task_status_before;
CREATE TYPE task_status AS ENUM
    ('pending', 'in_progress', 'input_required', 'completed', 'failed', 'cancelled');
ALTER TABLE tasks ALTER COLUMN status TYPE task_status USING status::text::task_status;
ALTER TABLE tasks ALTER COLUMN status SET DEFAULT 'pending';
DROP TYPE task_status_before;
"""

# When it is a task's turn: the moment it was made, less its head start, as seconds since 1970. All tasks age alike, so
# their order does not change while they wait, and an index keeps it.
URGENCY = """
CREATE FUNCTION task_head_start_h(priority task_priority) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE priority WHEN 'urgent' THEN 87600 WHEN 'high' THEN 72 WHEN 'medium' THEN 24 ELSE 0 END;

CREATE FUNCTION task_due_h(created_at timestamptz, due_at timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN due_at IS NULL THEN 0
    ELSE 16 * 48 / (48 + greatest(extract(epoch FROM due_at - created_at)::double precision / 3600, 0)) END;

CREATE FUNCTION task_unblocks_h(unblocks integer) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 0.5 * least(unblocks, 8);

CREATE FUNCTION task_turn(priority task_priority, created_at timestamptz, due_at timestamptz, unblocks integer)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN extract(epoch FROM created_at - timestamptz '1970-01-01 00:00:00+00')::double precision - 3600 *
    (task_head_start_h(priority) + task_due_h(created_at, due_at) + task_unblocks_h(unblocks));
"""

# In PL/pgSQL, which keeps its plans: a function in SQL would be planned anew for every row that is written.
SEARCH = """
CREATE FUNCTION task_words(title text, description text, labels text[]) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN to_tsvector('simple'::regconfig, concat_ws(' ', title, array_to_string(labels, ' '), description));
END $$;
"""

COLUMNS = """
ALTER TABLE tasks
    ADD COLUMN capabilities text[] NOT NULL DEFAULT '{}',
    ADD COLUMN output_schema jsonb,
    ADD COLUMN note text,
    ADD COLUMN question text,
    ADD COLUMN answer text,
    ADD COLUMN claimed_by text,
    ADD COLUMN claim_token bigint,
    ADD COLUMN claim_request text,
    ADD COLUMN lease_seconds integer,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN lease_losses smallint NOT NULL DEFAULT 0,
    ADD COLUMN effective_priority task_priority NOT NULL DEFAULT 'medium',
    ADD COLUMN unblocks integer NOT NULL DEFAULT 0,
    ADD COLUMN action text NOT NULL DEFAULT 'created',
    ADD COLUMN author text NOT NULL DEFAULT 'tmws',
    ADD COLUMN author_persona text;

WITH RECURSIVE waiting (id, priority) AS (
    SELECT id, priority FROM tasks WHERE status NOT IN ('completed', 'failed', 'cancelled')
    UNION
    SELECT d.depends_on, w.priority FROM waiting w JOIN task_dependencies d ON d.task_id = w.id
)
UPDATE tasks t SET effective_priority = greatest(t.priority, w.priority)
FROM (SELECT id, max(priority) AS priority FROM waiting GROUP BY id) w WHERE w.id = t.id;
UPDATE tasks SET effective_priority = priority WHERE status IN ('completed', 'failed', 'cancelled');
UPDATE tasks t SET unblocks = d.waiting FROM (
    SELECT d.depends_on, count(*) AS waiting FROM task_dependencies d JOIN tasks w ON w.id = d.task_id
    WHERE w.status NOT IN ('completed', 'failed', 'cancelled') GROUP BY d.depends_on
) d WHERE d.depends_on = t.id AND t.status <> 'completed';

ALTER TABLE tasks
    ADD COLUMN turn double precision NOT NULL
        GENERATED ALWAYS AS (task_turn(effective_priority, created_at, due_at, unblocks)) STORED,
    ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS (task_words(title, description, labels)) STORED;
CREATE SEQUENCE task_claim_tokens AS bigint OWNED BY tasks.claim_token;

CREATE INDEX tasks_claimable ON tasks (namespace, assigned_persona, turn, id) WHERE status = 'pending' AND unmet = 0;
CREATE INDEX tasks_urgency ON tasks (namespace, turn, id);
CREATE INDEX tasks_leases ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_claimed ON tasks (namespace, claimed_by, claim_request) WHERE claim_request IS NOT NULL;
CREATE INDEX tasks_updated ON tasks (namespace, updated_at DESC, id DESC);
CREATE INDEX tasks_words ON tasks USING gin (words);
-- What is claimed leaves a dead entry at the head of tasks_claimable, where every claim begins.
ALTER TABLE tasks SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
"""

HISTORY = """
-- Without a foreign key, which would look its task up again at every change; the history goes by a trigger, too.
CREATE TABLE task_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL,
    version integer NOT NULL,
    action text NOT NULL,
    author text NOT NULL,
    persona text,
    from_status task_status,
    to_status task_status NOT NULL,
    agent text,
    note text,
    changes jsonb,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX task_events_task ON task_events (task_id, id);

CREATE TABLE task_comments (
    id uuid PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    author text NOT NULL,
    persona text,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX task_comments_task ON task_comments (task_id, id);

-- When the deletion of a task comes to its history, the task is gone already.
CREATE FUNCTION refuse_task_history_change() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'what was done and said about a task is not changed';
END $$;
CREATE TRIGGER task_events_stay BEFORE UPDATE OR DELETE ON task_events
    FOR EACH ROW EXECUTE FUNCTION refuse_task_history_change();
CREATE TRIGGER task_comments_stay BEFORE UPDATE OR DELETE ON task_comments
    FOR EACH ROW EXECUTE FUNCTION refuse_task_history_change();
"""

# Finished tasks are not counted by reading them: triggers note each change, the worker adds them up.
COUNTS = """
CREATE TABLE task_counts (
    namespace text NOT NULL,
    status task_status NOT NULL,
    tasks bigint NOT NULL,
    PRIMARY KEY (namespace, status)
);
CREATE TABLE task_count_changes (
    namespace text NOT NULL,
    status task_status NOT NULL,
    tasks integer NOT NULL
);
CREATE INDEX task_count_changes_namespace ON task_count_changes (namespace);
INSERT INTO task_counts SELECT namespace, status, count(*) FROM tasks
    WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY namespace, status;
"""

# Every path that changes a task goes through here, so that none can forget its history, its events or the counts.
NOTING = """
CREATE FUNCTION tell_of_task(told tasks, kind text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (id, type, namespace, subject, data)
    VALUES (gen_random_uuid(), 'task.' || kind, told.namespace, told.id::text, jsonb_build_object(
        'status', told.status, 'title', told.title, 'assigned_persona', told.assigned_persona,
        'ready', told.status = 'pending' AND told.unmet = 0));
END $$;

CREATE FUNCTION task_changes(before tasks, after tasks) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(key, jsonb_build_object('from', o.value, 'to', n.value))
    FROM jsonb_each(to_jsonb(before)) o JOIN jsonb_each(to_jsonb(after)) n USING (key)
    WHERE n.value <> o.value AND key IN ('title', 'description', 'priority', 'assigned_persona', 'capabilities',
        'progress', 'metadata', 'labels', 'due_at', 'parent_id', 'output_schema', 'result', 'error')
$$;

CREATE FUNCTION note_task() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    is_new boolean := TG_OP = 'INSERT';
    is_changed boolean := is_new OR NEW.version <> OLD.version;
    was_ready boolean := NOT is_new AND OLD.status = 'pending' AND OLD.unmet = 0;
    is_described boolean := NOT is_new AND is_changed AND NEW.action <> 'claimed' AND (
        NEW.action IN ('changed', 'started', 'progressed') OR
        (OLD.title, OLD.description, OLD.priority, OLD.assigned_persona, OLD.capabilities, OLD.metadata, OLD.labels,
         OLD.due_at, OLD.parent_id, OLD.output_schema) IS DISTINCT FROM
        (NEW.title, NEW.description, NEW.priority, NEW.assigned_persona, NEW.capabilities, NEW.metadata, NEW.labels,
         NEW.due_at, NEW.parent_id, NEW.output_schema));
BEGIN
    IF is_changed THEN
        INSERT INTO task_events (
            task_id, version, action, author, persona, from_status, to_status, agent, note, changes)
        VALUES (
            NEW.id, NEW.version, NEW.action, NEW.author, NEW.author_persona, OLD.status, NEW.status,
            coalesce(NEW.claimed_by, OLD.claimed_by),
            CASE NEW.action WHEN 'input_required' THEN NEW.question WHEN 'answered' THEN NEW.answer
                WHEN 'failed' THEN left(NEW.error, 4096) WHEN 'progressed' THEN NEW.note WHEN 'released' THEN NEW.note
                WHEN 'lease_lost' THEN CASE WHEN NEW.status = 'input_required' THEN NEW.question END END,
            CASE WHEN is_described THEN task_changes(OLD, NEW) END);
        IF NEW.action NOT IN ('changed', 'started', 'progressed', 'answered', 'reopened') THEN
            INSERT INTO outbox (id, type, namespace, subject, data) VALUES (
                gen_random_uuid(), 'task.' || NEW.action, NEW.namespace, NEW.id,
                jsonb_build_object('status', NEW.status, 'title', NEW.title, 'assigned_persona', NEW.assigned_persona,
                                   'ready', NEW.status = 'pending' AND NEW.unmet = 0));
        END IF;
        IF NEW.action = 'lease_lost' AND NEW.status = 'input_required' THEN
            PERFORM tell_of_task(NEW, 'input_required');
        END IF;
        IF NOT is_new AND OLD.status <> NEW.status AND OLD.status IN ('completed', 'failed', 'cancelled') THEN
            INSERT INTO task_count_changes VALUES (OLD.namespace, OLD.status, -1);
        END IF;
        IF (is_new OR OLD.status <> NEW.status) AND NEW.status IN ('completed', 'failed', 'cancelled') THEN
            INSERT INTO task_count_changes VALUES (NEW.namespace, NEW.status, 1);
        END IF;
    END IF;
    IF NOT is_new AND NEW.status = 'pending' AND NEW.unmet = 0 AND NOT was_ready THEN
        PERFORM tell_of_task(NEW, 'ready');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tasks_made AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION note_task();
CREATE TRIGGER tasks_changed AFTER UPDATE ON tasks FOR EACH ROW
    WHEN (NEW.version <> OLD.version OR NEW.unmet <> OLD.unmet) EXECUTE FUNCTION note_task();

CREATE FUNCTION note_deleted_task() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM task_events WHERE task_id = OLD.id;
    IF OLD.status IN ('completed', 'failed', 'cancelled') THEN
        INSERT INTO task_count_changes VALUES (OLD.namespace, OLD.status, -1);
    END IF;
    PERFORM tell_of_task(OLD, 'deleted');
    RETURN NULL;
END $$;
CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION note_deleted_task();
"""

AGAIN = """
CREATE INDEX tasks_open ON tasks (namespace, status) WHERE status IN ('pending', 'in_progress', 'input_required');
"""


def upgrade() -> None:
    run_script(STATUS + URGENCY + SEARCH)
    run_script(COLUMNS)
    run_script(HISTORY + COUNTS + NOTING + AGAIN)
