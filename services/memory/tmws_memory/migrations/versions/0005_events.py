"""Changes of memories are told to others: by ids, tags and persona, never by content."""

from tmws_shared.events import OUTBOX_DDL
from tmws_shared.migrations import run_script

revision = "0005"
down_revision = "0004"

DDL = """
-- A private memory is told of to its owner alone.
CREATE FUNCTION audience_of(owner text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN owner = '' THEN '{}'::jsonb ELSE jsonb_build_object('audience', jsonb_build_array(owner)) END
$$;

-- Memories that come together are told of together, so that an import is a few events and no flood of them.
CREATE FUNCTION tell_of_stored_memories() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO outbox (id, type, namespace, subject, data)
    SELECT gen_random_uuid(), 'memory.stored', c.namespace, t.ids[1]::text, audience_of(c.owner) || jsonb_build_object(
        'ids', t.ids[:100], 'count', cardinality(t.ids),
        'persona_id', CASE WHEN cardinality(t.ids) = 1 THEN t.persona END,
        'tags', CASE WHEN cardinality(t.ids) = 1 THEN t.tags ELSE '[]' END)
    FROM (SELECT collection, array_agg(id ORDER BY id) AS ids, min(persona_id) AS persona,
                 (array_agg(to_jsonb(tags)))[1] AS tags
          FROM touched WHERE deleted_at IS NULL GROUP BY collection) t
    JOIN memory_collections c ON c.id = t.collection;
  RETURN NULL;
END $$;
CREATE FUNCTION tell_of_changed_memories() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO outbox (id, type, namespace, subject, data)
    SELECT gen_random_uuid(), k.type, c.namespace, m.id::text, audience_of(c.owner) || jsonb_build_object(
        'action', t.action, 'version', t.version, 'persona_id', m.persona_id, 'tags', m.tags)
    FROM touched t
    JOIN (VALUES ('changed', 'memory.updated'), ('promoted', 'memory.updated'), ('consolidated', 'memory.updated'),
                 ('separated', 'memory.updated'), ('deleted', 'memory.deleted'), ('expired', 'memory.deleted'),
                 ('restored', 'memory.restored'), ('shared', 'memory.shared'), ('revoked', 'memory.unshared')
         ) k (action, type) ON k.action = t.action
    JOIN memories m ON m.id = t.memory_id
    JOIN memory_collections c ON c.id = m.collection;
  RETURN NULL;
END $$;
CREATE FUNCTION tell_of_erased_memories() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO outbox (id, type, namespace, subject, data)
    SELECT gen_random_uuid(), 'memory.deleted', c.namespace, t.id::text, audience_of(c.owner) || jsonb_build_object(
        'action', 'erased', 'version', t.version, 'persona_id', t.persona_id, 'tags', t.tags)
    FROM touched t JOIN memory_collections c ON c.id = t.collection WHERE t.deleted_at IS NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER memories_stored_told AFTER INSERT ON memories
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_stored_memories();
CREATE TRIGGER memories_changed_told AFTER INSERT ON memory_history
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_changed_memories();
CREATE TRIGGER memories_erased_told AFTER DELETE ON memories
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION tell_of_erased_memories();
"""


def upgrade() -> None:
    run_script(OUTBOX_DDL + DDL)
