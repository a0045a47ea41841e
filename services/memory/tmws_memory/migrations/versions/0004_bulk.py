"""Imports that can go on where they were broken off, near duplicates, consolidations."""

from tmws_shared.migrations import run_script

revision = "0004"
down_revision = "0003"

DDL = """
-- How far an import is; written in the transactions that store its memories.
CREATE TABLE memory_imports (
    id uuid PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    records bigint NOT NULL,
    line bigint NOT NULL,
    digest bytea NOT NULL,
    stored bigint NOT NULL,
    deduplicated bigint NOT NULL,
    failed bigint NOT NULL,
    unnamed bigint NOT NULL,
    faults jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace, owner, key)
);
CREATE INDEX memory_imports_updated_at ON memory_imports (updated_at);

-- Near duplicates, by the numbers under which both are indexed: one that is indexed anew is compared anew, and what
-- was found of its old number answers nothing until it is swept.
CREATE TABLE memory_pairs (
    collection integer NOT NULL,
    first bigint NOT NULL,
    second bigint NOT NULL,
    similarity real NOT NULL,
    overlap real NOT NULL,
    PRIMARY KEY (collection, first, second)
);
CREATE INDEX memory_pairs_second ON memory_pairs (collection, second);
-- What has vectors and was not compared with the others yet.
CREATE TABLE memory_uncompared (
    collection integer NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (collection, number)
);

INSERT INTO memory_uncompared SELECT collection, number FROM memories WHERE deleted_at IS NULL AND model IS NOT NULL;

CREATE FUNCTION note_uncompared() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO memory_uncompared
    SELECT collection, number FROM added WHERE shelf = 0 AND position = 0
    ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
-- Vectors come in by several ways, and all of them by this table; what settles goes from shelf to shelf beneath it.
CREATE TRIGGER memory_vectors_added AFTER INSERT ON memory_vectors
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_uncompared();

-- Memories that were made one. What undoes it goes with the memory that was kept.
CREATE TABLE memory_consolidations (
    id uuid PRIMARY KEY,
    collection integer NOT NULL REFERENCES memory_collections (id),
    kept uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    kept_version integer NOT NULL,
    before jsonb NOT NULL,
    after jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    undone_at timestamptz,
    undone_by text
);
CREATE INDEX memory_consolidations_kept ON memory_consolidations (kept);
CREATE INDEX memory_consolidations_latest ON memory_consolidations (collection, created_at DESC, id DESC);
CREATE TABLE memory_consolidated (
    consolidation uuid NOT NULL REFERENCES memory_consolidations (id) ON DELETE CASCADE,
    -- No reference: that one of them has been erased must be seen.
    memory_id uuid NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (consolidation, memory_id)
);
"""


def upgrade() -> None:
    run_script(DDL)
