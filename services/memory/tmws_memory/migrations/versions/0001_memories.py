"""Memories, their further vectors, the postings of their terms, and the kept answers."""

from tmws_shared.idempotency import TABLE_DDL as IDEMPOTENCY_DDL
from tmws_shared.migrations import run_script

revision = "0001"
down_revision = None

DDL = """
CREATE TYPE memory_tier AS ENUM ('short_term', 'long_term');
CREATE TYPE memory_visibility AS ENUM ('private', 'namespace');

-- What a search reads of every row comes first, before columns of varying length where possible.
CREATE TABLE memory_embeddings (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    occurred_at timestamptz,
    happened_at timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(occurred_at, created_at)) STORED,
    expires_at timestamptz,
    deleted_at timestamptz,
    importance double precision NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    length integer NOT NULL,
    tier memory_tier NOT NULL,
    visibility memory_visibility NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    embedding_model text COLLATE "C" NOT NULL,
    embedding_precision text COLLATE "C" NOT NULL,
    embedding halfvec(384) NOT NULL,
    session_id text COLLATE "C",
    persona_id varchar(100) COLLATE "C",
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    content text NOT NULL,
    content_hash bytea NOT NULL,
    source text NOT NULL,
    store_count integer NOT NULL DEFAULT 1,
    access_count integer NOT NULL DEFAULT 0,
    last_accessed_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90);
ALTER TABLE memory_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE UNIQUE INDEX memory_embeddings_content ON memory_embeddings (namespace, owner, content_hash)
    WHERE deleted_at IS NULL;
CREATE INDEX memory_embeddings_newest ON memory_embeddings (namespace, created_at DESC, id DESC);
CREATE INDEX memory_embeddings_session ON memory_embeddings (namespace, session_id, happened_at, id)
    WHERE session_id IS NOT NULL;
CREATE INDEX memory_embeddings_expiring ON memory_embeddings (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX memory_embeddings_deleted ON memory_embeddings (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE memory_chunks (
    memory_id uuid NOT NULL REFERENCES memory_embeddings (id) ON DELETE CASCADE,
    position smallint NOT NULL CHECK (position > 0),
    namespace text COLLATE "C" NOT NULL,
    embedding halfvec(384) NOT NULL,
    PRIMARY KEY (memory_id, position)
);
ALTER TABLE memory_chunks ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX memory_chunks_namespace ON memory_chunks (namespace);

-- No foreign key: it would look up the memory once for each of its terms. Both are written, and purged, together.
CREATE TABLE memory_postings (
    term bigint NOT NULL,
    memory_id uuid NOT NULL,
    frequency smallint NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (term, memory_id) INCLUDE (frequency, length)
);
CREATE INDEX memory_postings_memory ON memory_postings (memory_id);
"""


# Purging a memory also takes the kept answers that show it.
ANSWERS_DDL = """
CREATE INDEX idempotency_keys_location ON idempotency_keys ((headers ->> 'Location'));
"""


def upgrade() -> None:
    run_script(DDL + IDEMPOTENCY_DDL + ANSWERS_DDL)
