"""Personas, the seeds they grew from, and the kept answers."""

from tmws_shared.idempotency import TABLE_DDL as IDEMPOTENCY_DDL
from tmws_shared.migrations import run_script

revision = "0001"
down_revision = None

DDL = """
CREATE TABLE personas (
    namespace text NOT NULL,
    id varchar(100) NOT NULL,
    name varchar(255) NOT NULL,
    description text,
    capabilities jsonb NOT NULL DEFAULT '[]',
    configuration jsonb NOT NULL DEFAULT '{}',
    instructions text,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, id)
);
CREATE TABLE persona_seeds (
    namespace text NOT NULL,
    id varchar(100) NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (namespace, id)
);
"""


def upgrade() -> None:
    run_script(DDL + IDEMPOTENCY_DDL)
