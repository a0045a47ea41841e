"""Changes of personas are told to others."""

from tmws_shared.events import OUTBOX_DDL
from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

DDL = """
CREATE FUNCTION tell_of_personas() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO outbox (id, type, namespace, subject, data)
    SELECT gen_random_uuid(), TG_ARGV[0], namespace, id, jsonb_build_object('name', name, 'version', version)
    FROM touched;
  RETURN NULL;
END $$;
CREATE TRIGGER personas_created AFTER INSERT ON personas
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_personas('persona.created');
CREATE TRIGGER personas_updated AFTER UPDATE ON personas
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_personas('persona.updated');
CREATE TRIGGER personas_deleted AFTER DELETE ON personas
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_personas('persona.deleted');
"""


def upgrade() -> None:
    run_script(OUTBOX_DDL + DDL)
