"""Memories in collections; words and vectors apart from them, where they can be indexed without a pause."""

from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

DDL = """
-- What is seen together: the memories that a namespace shares (owner ''), or the private ones of one owner.
CREATE TABLE memory_collections (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    folded bigint NOT NULL DEFAULT 0,
    folded_length bigint NOT NULL DEFAULT 0,
    shelf integer NOT NULL DEFAULT 0,
    settled bigint NOT NULL DEFAULT 0,
    UNIQUE (namespace, owner)
);
CREATE TABLE memory_models (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    precision text COLLATE "C" NOT NULL,
    UNIQUE (name, precision)
);
-- Postings hold numbers in 32 bits.
CREATE SEQUENCE memory_numbers MAXVALUE 4294967295;

INSERT INTO memory_collections (namespace, owner) SELECT DISTINCT namespace, owner FROM memory_embeddings;
INSERT INTO memory_models (name, precision)
    SELECT DISTINCT embedding_model, embedding_precision FROM memory_embeddings;

CREATE TABLE memories (
    id uuid PRIMARY KEY,
    number bigint NOT NULL DEFAULT nextval('memory_numbers') UNIQUE,
    collection integer NOT NULL REFERENCES memory_collections (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    occurred_at timestamptz,
    happened_at timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(occurred_at, created_at)) STORED,
    expires_at timestamptz,
    deleted_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    importance double precision NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    version integer NOT NULL DEFAULT 1,
    store_count integer NOT NULL DEFAULT 1,
    model smallint REFERENCES memory_models (id),
    terms_version smallint NOT NULL DEFAULT 0,
    tier memory_tier NOT NULL,
    visibility memory_visibility NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    session_id text COLLATE "C",
    persona_id varchar(100) COLLATE "C",
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    content text NOT NULL,
    content_hash bytea NOT NULL,
    source text NOT NULL
) WITH (fillfactor = 90);
ALTER SEQUENCE memory_numbers OWNED BY memories.number;

-- How often searches found a memory: apart, so that counting rewrites no content and no index of it.
CREATE TABLE memory_uses (
    memory_id uuid PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
    namespace text COLLATE "C" NOT NULL,
    uses integer NOT NULL,
    last_used_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Vectors by shelf: 0 has the fresh ones of all collections, which are compared one by one; a collection that has
-- grown has a shelf of its own with a graph over its vectors. A number never comes back, so what lies here of a
-- memory that is gone cannot be mistaken for another one's.
CREATE TABLE memory_vectors (
    shelf integer NOT NULL,
    collection integer NOT NULL,
    number bigint NOT NULL,
    position smallint NOT NULL,
    model smallint NOT NULL,
    embedding halfvec(384) NOT NULL
) PARTITION BY LIST (shelf);
ALTER TABLE memory_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE TABLE memory_vectors_0 PARTITION OF memory_vectors FOR VALUES IN (0);
CREATE INDEX memory_vectors_number ON memory_vectors (number);
CREATE INDEX memory_vectors_0_collection ON memory_vectors_0 (collection);
CREATE SEQUENCE memory_shelves AS integer;

-- The words of each memory, packed; the fresh ones are read as they are, the others have been folded into blocks.
CREATE TABLE memory_words (
    number bigint PRIMARY KEY,
    collection integer NOT NULL,
    words bytea NOT NULL
);
CREATE TABLE memory_fresh (
    collection integer NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (collection, number)
);
CREATE TABLE memory_blocks (
    collection integer NOT NULL,
    term bigint NOT NULL,
    block integer NOT NULL,
    low bigint NOT NULL,
    high bigint NOT NULL,
    postings bytea NOT NULL,
    PRIMARY KEY (collection, term, block)
);
ALTER TABLE memory_blocks ALTER COLUMN postings SET STORAGE PLAIN;
-- Numbers that are gone, until the blocks and shelves have been swept of them.
CREATE TABLE memory_forgotten (
    collection integer NOT NULL,
    number bigint NOT NULL,
    words bytea,
    PRIMARY KEY (collection, number)
);

-- Seen by a persona of a namespace, or by all of it (persona '').
CREATE TABLE memory_shares (
    id uuid PRIMARY KEY,
    memory_id uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    namespace text COLLATE "C" NOT NULL,
    persona text COLLATE "C" NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX memory_shares_memory ON memory_shares (memory_id);
CREATE INDEX memory_shares_grantee ON memory_shares (namespace, persona) WHERE revoked_at IS NULL;

INSERT INTO memories (
        id, collection, created_at, occurred_at, expires_at, deleted_at, updated_at, importance, version, store_count,
        model, tier, visibility, namespace, session_id, persona_id, tags, metadata, content, content_hash, source)
    SELECT m.id, c.id, m.created_at, m.occurred_at, m.expires_at, m.deleted_at, m.updated_at, m.importance, m.version,
           m.store_count, CASE WHEN m.deleted_at IS NULL THEN e.id END, m.tier, m.visibility, m.namespace,
           m.session_id, m.persona_id, m.tags, m.metadata, m.content, m.content_hash, m.source
    FROM memory_embeddings m
    JOIN memory_collections c ON (c.namespace, c.owner) = (m.namespace, m.owner)
    JOIN memory_models e ON (e.name, e.precision) = (m.embedding_model, m.embedding_precision)
    ORDER BY m.created_at, m.id;
INSERT INTO memory_uses SELECT id, namespace, access_count, coalesce(last_accessed_at, now())
    FROM memory_embeddings WHERE access_count > 0;
INSERT INTO memory_vectors
    SELECT 0, m.collection, m.number, v.position, m.model, v.embedding
    FROM (SELECT id AS memory_id, 0 AS position, embedding FROM memory_embeddings
          UNION ALL SELECT memory_id, position, embedding FROM memory_chunks) v
    JOIN memories m ON m.id = v.memory_id AND m.deleted_at IS NULL;

DROP TABLE memory_chunks, memory_postings, memory_embeddings;

CREATE UNIQUE INDEX memories_content ON memories (collection, content_hash) WHERE deleted_at IS NULL;
CREATE INDEX memories_newest ON memories (namespace, created_at DESC, id DESC);
CREATE INDEX memories_importance ON memories (namespace, importance DESC, created_at DESC, id DESC);
CREATE INDEX memories_session ON memories (collection, session_id, happened_at, id) WHERE session_id IS NOT NULL;
CREATE INDEX memories_persona ON memories (namespace, persona_id, created_at DESC, id DESC)
    WHERE persona_id IS NOT NULL;
CREATE INDEX memories_tags ON memories USING gin (tags);
CREATE INDEX memories_metadata ON memories USING gin (metadata jsonb_path_ops);
CREATE INDEX memories_expiring ON memories (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX memories_deleted ON memories (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX memories_model ON memories (model, number) WHERE deleted_at IS NULL;
CREATE INDEX memories_unread ON memories (terms_version, number) WHERE deleted_at IS NULL;
CREATE INDEX memory_uses_most ON memory_uses (namespace, uses DESC, memory_id DESC);

-- The table as the overview of TMWS describes it.
CREATE VIEW memory_embeddings AS
    SELECT m.id, m.content, v.embedding, m.metadata, m.importance, m.persona_id, m.created_at
    FROM memories m LEFT JOIN memory_vectors v ON v.number = m.number AND v.position = 0
    WHERE m.deleted_at IS NULL;
"""


def upgrade() -> None:
    run_script(DDL)
