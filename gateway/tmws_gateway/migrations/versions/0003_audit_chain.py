"""The audit log becomes a chain; what was written so far waits for the first gateway to chain it."""

from tmws_shared.migrations import run_script

revision = "0003"
down_revision = "0002"

DDL = """
CREATE TABLE audit_records (
    seq bigint PRIMARY KEY,
    hash bytea NOT NULL,
    version smallint NOT NULL,
    id uuid NOT NULL UNIQUE,
    occurred_at timestamptz NOT NULL,
    namespace text NOT NULL,
    subject text,
    key_id text,
    persona text,
    address text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    decision text NOT NULL CHECK (decision IN ('allowed', 'denied')),
    status smallint NOT NULL,
    request_id text NOT NULL,
    trace_id text,
    changed_fields text[] NOT NULL,
    field_digests text[] NOT NULL,
    duration_us bigint NOT NULL,
    repeats integer NOT NULL
);
CREATE INDEX audit_records_newest ON audit_records (namespace, seq DESC);
CREATE INDEX audit_records_subject ON audit_records (namespace, subject, seq DESC);

CREATE TABLE audit_checkpoints (
    seq bigint PRIMARY KEY,
    hash bytea NOT NULL,
    made_at timestamptz NOT NULL,
    public_key bytea NOT NULL,
    signature bytea NOT NULL
);

CREATE TRIGGER audit_records_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Also for a session that says it is replicating.
ALTER TABLE audit_records ENABLE ALWAYS TRIGGER audit_records_append_only;
ALTER TABLE audit_checkpoints ENABLE ALWAYS TRIGGER audit_checkpoints_append_only;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_records, audit_checkpoints FROM CURRENT_USER;

-- From here on only what waits to be chained; the release before adds its records here.
DROP TRIGGER audit_events_append_only ON audit_events;
DROP INDEX audit_events_newest, audit_events_subject;
"""


def upgrade() -> None:
    run_script(DDL)
