"""What personas mean, as vectors, for finding the one that fits a piece of work."""

from tmws_shared.migrations import run_script

revision = "0003"
down_revision = "0002"

DDL = """
CREATE TABLE persona_vectors (
    namespace text NOT NULL,
    persona_id varchar(100) NOT NULL,
    model text NOT NULL,
    precision text NOT NULL,
    digest bytea NOT NULL,
    embedding bytea NOT NULL,
    PRIMARY KEY (namespace, persona_id, model, precision),
    FOREIGN KEY (namespace, persona_id) REFERENCES personas (namespace, id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    run_script(DDL)
