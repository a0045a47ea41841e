"""Executions that pause, go on and are tried again; steps within steps; what is to be undone."""

from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

# A new value of an enum cannot be used in the transaction that adds it, so the indexes name the old ones.
DDL = """
ALTER TYPE execution_status ADD VALUE 'paused' AFTER 'running';
ALTER TYPE step_status ADD VALUE 'outcome_unknown';

ALTER TABLE executions ADD COLUMN paused_at timestamptz;
ALTER TABLE executions ADD COLUMN retries integer NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN parent_execution_id uuid;
ALTER TABLE executions ADD COLUMN parent_path text;
ALTER TABLE executions ADD COLUMN parent_run integer;
ALTER TABLE executions ADD COLUMN root_execution_id uuid;
ALTER TABLE executions ADD COLUMN depth smallint NOT NULL DEFAULT 0;
DROP INDEX executions_open;
CREATE INDEX executions_open ON executions (workflow_id)
    WHERE status NOT IN ('completed', 'failed', 'cancelled', 'timed_out');
CREATE UNIQUE INDEX executions_child ON executions (parent_execution_id, parent_path, parent_run)
    WHERE parent_execution_id IS NOT NULL;
CREATE INDEX executions_open_child ON executions (parent_execution_id)
    WHERE parent_execution_id IS NOT NULL AND status NOT IN ('completed', 'failed', 'cancelled', 'timed_out');

-- Steps that the release before adds lie in a queue of their own, that of the namespace ''.
ALTER TABLE step_executions ADD COLUMN namespace text NOT NULL DEFAULT '';
ALTER TABLE step_executions ADD COLUMN run integer NOT NULL DEFAULT 0;
ALTER TABLE step_executions ADD COLUMN map_path text;
ALTER TABLE step_executions ADD COLUMN item_no integer;
ALTER TABLE step_executions ADD COLUMN input jsonb;
CREATE INDEX step_executions_fair ON step_executions (namespace, sched_key) WHERE status = 'ready';
CREATE INDEX step_executions_next_item ON step_executions (execution_id, map_path, item_no)
    WHERE status = 'pending' AND map_path IS NOT NULL;
DROP INDEX step_executions_deadline;
CREATE INDEX step_executions_deadline ON step_executions (deadline_at)
    WHERE status IN ('pending', 'ready', 'waiting') AND deadline_at IS NOT NULL;
"""


def upgrade() -> None:
    run_script(DDL)
