"""API keys and the audit log."""

from tmws_shared.migrations import run_script

revision = "0001"
down_revision = None

DDL = """
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    namespace varchar(100) NOT NULL,
    persona varchar(100),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_keys_name ON api_keys (namespace, name) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_newest ON api_keys (created_at DESC, id DESC);

CREATE TABLE audit_events (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    changed_fields text[] NOT NULL DEFAULT '{}',
    duration_ms double precision NOT NULL,
    repeats integer NOT NULL DEFAULT 1
);
CREATE INDEX audit_events_newest ON audit_events (namespace, seq DESC);
CREATE INDEX audit_events_subject ON audit_events (namespace, subject, seq DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit records can only be added' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    run_script(DDL)
