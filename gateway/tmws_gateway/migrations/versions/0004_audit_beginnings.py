"""Audit records that are old enough may go, all up to a signed beginning; every other one stays."""

from tmws_shared.migrations import run_script

revision = "0004"
down_revision = "0003"

DDL = """
CREATE TABLE audit_beginnings (
    seq bigint PRIMARY KEY,
    hash bytea NOT NULL,
    made_at timestamptz NOT NULL,
    public_key bytea NOT NULL,
    signature bytea NOT NULL
);
CREATE TRIGGER audit_beginnings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_beginnings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_beginnings ENABLE ALWAYS TRIGGER audit_beginnings_append_only;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_beginnings FROM CURRENT_USER;

CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM removed WHERE seq > (SELECT coalesce(max(seq), 0) FROM audit_beginnings)) THEN
        RAISE EXCEPTION 'audit records can only be added' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER audit_records_append_only ON audit_records;
CREATE TRIGGER audit_records_append_only BEFORE UPDATE OR TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_records_removal AFTER DELETE ON audit_records REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
ALTER TABLE audit_records ENABLE ALWAYS TRIGGER audit_records_append_only;
ALTER TABLE audit_records ENABLE ALWAYS TRIGGER audit_records_removal;
"""


def upgrade() -> None:
    run_script(DDL)
