"""Approvals, signals and agents' work."""

from tmws_shared.events import OUTBOX_DDL
from tmws_shared.migrations import run_script

revision = "0003"
down_revision = "0002"

DDL = """
CREATE TYPE approval_status AS ENUM ('pending', 'approved', 'rejected', 'expired', 'withdrawn');

CREATE TABLE approvals (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    execution_id uuid NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    path text NOT NULL,
    run integer NOT NULL,
    workflow_id uuid NOT NULL,
    workflow_version integer NOT NULL,
    status approval_status NOT NULL DEFAULT 'pending',
    prompt text NOT NULL,
    show jsonb,
    digest text NOT NULL,
    approvers text[],
    allow_self boolean NOT NULL,
    requested_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    decided_by text,
    decided_at timestamptz,
    comment text
);
CREATE UNIQUE INDEX approvals_step ON approvals (execution_id, path, run);
CREATE INDEX approvals_newest ON approvals (namespace, created_at DESC, id DESC);
CREATE INDEX approvals_pending ON approvals (namespace, created_at DESC, id DESC) WHERE status = 'pending';

-- A signal is taken by the one run of a step that it lets go on.
CREATE TABLE signals (
    id uuid PRIMARY KEY,
    position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    execution_id uuid NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    name text NOT NULL,
    payload jsonb NOT NULL,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    taken_by text,
    taken_run integer
);
CREATE INDEX signals_in_order ON signals (execution_id, name, position);

-- What a step that waits for an agent will check the result against.
CREATE TABLE result_schemas (
    execution_id uuid NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    path text NOT NULL,
    schema jsonb NOT NULL,
    PRIMARY KEY (execution_id, path)
);
"""


def upgrade() -> None:
    run_script(DDL + OUTBOX_DDL)
