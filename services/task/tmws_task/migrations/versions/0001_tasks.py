"""Tasks, their dependencies, the outbox and the kept answers."""

from tmws_shared.events import OUTBOX_DDL
from tmws_shared.idempotency import TABLE_DDL as IDEMPOTENCY_DDL
from tmws_shared.migrations import run_script

revision = "0001"
down_revision = None

DDL = """
CREATE TYPE task_status AS ENUM ('pending', 'in_progress', 'completed', 'failed', 'cancelled');
CREATE TYPE task_priority AS ENUM ('low', 'medium', 'high', 'urgent');

CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    title varchar(255) NOT NULL,
    description text,
    status task_status NOT NULL DEFAULT 'pending',
    priority task_priority NOT NULL DEFAULT 'medium',
    assigned_persona varchar(100),
    progress smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    metadata jsonb NOT NULL DEFAULT '{}',
    labels text[] NOT NULL DEFAULT '{}',
    due_at timestamptz,
    parent_id uuid REFERENCES tasks (id) ON DELETE SET NULL,
    unmet integer NOT NULL DEFAULT 0 CHECK (unmet >= 0),
    result jsonb,
    error text,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tasks_newest ON tasks (namespace, created_at DESC, id DESC);
CREATE INDEX tasks_open ON tasks (namespace, status) WHERE status IN ('pending', 'in_progress');
CREATE INDEX tasks_parent ON tasks (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE task_dependencies (
    task_id uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    PRIMARY KEY (task_id, depends_on)
);
CREATE INDEX task_dependencies_reverse ON task_dependencies (depends_on);
"""


def upgrade() -> None:
    run_script(DDL + OUTBOX_DDL + IDEMPOTENCY_DDL)
