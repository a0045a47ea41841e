"""What becomes of executions is told to others."""

from tmws_shared.migrations import run_script

revision = "0005"
down_revision = "0004"

DDL = """
-- Told from the journal, whoever writes it, in the same transaction and without another round trip. All that a commit
-- tells is one row: a row an event would cost as much as the journal itself.
CREATE FUNCTION tell_of_executions() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO outbox (id, type, namespace, subject, data)
    SELECT gen_random_uuid(), 'bundle', '', '', jsonb_agg(jsonb_build_object(
        'id', gen_random_uuid(), 'type', t.type, 'namespace', e.namespace, 'subject', t.execution_id,
        'data', jsonb_build_object(
            'workflow_id', e.workflow_id, 'workflow_version', e.workflow_version, 'seq', t.seq)
        ) ORDER BY t.execution_id, t.seq)
    FROM touched t JOIN executions e ON e.id = t.execution_id
    WHERE t.type IN ('execution.started', 'execution.completed', 'execution.failed', 'execution.cancelled',
                     'execution.timed_out', 'execution.paused', 'execution.resumed', 'execution.retried')
    HAVING count(*) > 0;
  RETURN NULL;
END $$;
CREATE TRIGGER events_told AFTER INSERT ON events
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_executions();
"""


def upgrade() -> None:
    run_script(DDL)
