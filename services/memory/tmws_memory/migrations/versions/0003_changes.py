"""Every change of a memory is kept; memories are counted as they change; shares are unique."""

from tmws_shared.migrations import run_script

revision = "0003"
down_revision = "0002"

DDL = """
-- What was done to a memory, one row a version. Version 1 is told by the memory itself: stored, by its source.
-- A version that opens it shows a memory to more people than knew it before.
CREATE TABLE memory_history (
    memory_id uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    version integer NOT NULL,
    action text COLLATE "C" NOT NULL,
    author text NOT NULL,
    persona text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    is_opening boolean NOT NULL DEFAULT false,
    changes jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (memory_id, version)
);

-- How many memories a collection has. Writers only ever append what they change, so that they never wait for each
-- other; the worker adds it up.
CREATE TABLE memory_counts (
    collection integer PRIMARY KEY REFERENCES memory_collections (id),
    short_term bigint NOT NULL,
    long_term bigint NOT NULL,
    deleted bigint NOT NULL,
    pending bigint NOT NULL,
    bytes bigint NOT NULL
);
CREATE TABLE memory_count_changes (
    collection integer NOT NULL,
    short_term bigint NOT NULL,
    long_term bigint NOT NULL,
    deleted bigint NOT NULL,
    pending bigint NOT NULL,
    bytes bigint NOT NULL
);
CREATE INDEX memory_count_changes_collection ON memory_count_changes (collection);

INSERT INTO memory_counts
    SELECT collection, count(*) FILTER (WHERE deleted_at IS NULL AND tier = 'short_term'),
           count(*) FILTER (WHERE deleted_at IS NULL AND tier = 'long_term'),
           count(*) FILTER (WHERE deleted_at IS NOT NULL),
           count(*) FILTER (WHERE deleted_at IS NULL AND model IS NULL),
           coalesce(sum(octet_length(content)) FILTER (WHERE deleted_at IS NULL), 0)
    FROM memories GROUP BY collection;

CREATE FUNCTION count_memories() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  sign integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
  INSERT INTO memory_count_changes
    SELECT collection, sign * count(*) FILTER (WHERE deleted_at IS NULL AND tier = 'short_term'),
           sign * count(*) FILTER (WHERE deleted_at IS NULL AND tier = 'long_term'),
           sign * count(*) FILTER (WHERE deleted_at IS NOT NULL),
           sign * count(*) FILTER (WHERE deleted_at IS NULL AND model IS NULL),
           sign * coalesce(sum(octet_length(content)) FILTER (WHERE deleted_at IS NULL), 0)
    FROM touched GROUP BY collection;
  RETURN NULL;
END $$;
CREATE FUNCTION count_changed_memory() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO memory_count_changes
    SELECT m.collection, m.sign * (m.is_live AND m.tier = 'short_term')::integer,
           m.sign * (m.is_live AND m.tier = 'long_term')::integer, m.sign * (NOT m.is_live)::integer,
           m.sign * (m.is_live AND m.is_pending)::integer, CASE WHEN m.is_live THEN m.sign * m.bytes ELSE 0 END
    FROM (VALUES
        (-1, OLD.collection, OLD.tier, OLD.deleted_at IS NULL, OLD.model IS NULL, octet_length(OLD.content)),
        (1, NEW.collection, NEW.tier, NEW.deleted_at IS NULL, NEW.model IS NULL, octet_length(NEW.content))
    ) m (sign, collection, tier, is_live, is_pending, bytes);
  RETURN NULL;
END $$;
CREATE TRIGGER memories_stored AFTER INSERT ON memories
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION count_memories();
CREATE TRIGGER memories_erased AFTER DELETE ON memories
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION count_memories();
CREATE TRIGGER memories_changed AFTER UPDATE OF collection, tier, deleted_at, model, content_hash ON memories
    FOR EACH ROW WHEN (
        (OLD.collection, OLD.tier, OLD.deleted_at IS NULL, OLD.model IS NULL, OLD.content_hash)
        IS DISTINCT FROM (NEW.collection, NEW.tier, NEW.deleted_at IS NULL, NEW.model IS NULL, NEW.content_hash))
    EXECUTE FUNCTION count_changed_memory();

CREATE INDEX memories_trash ON memories (namespace, deleted_at DESC, id DESC) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX memory_shares_active ON memory_shares (memory_id, namespace, persona) WHERE revoked_at IS NULL;
-- A purge looks for the kept answers that show a memory, or something below it.
DROP INDEX idempotency_keys_location;
CREATE INDEX idempotency_keys_location ON idempotency_keys ((headers ->> 'Location') COLLATE "C");
"""


def upgrade() -> None:
    run_script(DDL)
