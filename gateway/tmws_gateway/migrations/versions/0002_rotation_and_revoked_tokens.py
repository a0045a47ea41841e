"""Rotation of API keys, and access tokens that were revoked before their end."""

from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

DDL = """
ALTER TABLE api_keys
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN previous_digest bytea,
    ADD COLUMN previous_until timestamptz;

CREATE TABLE revoked_tokens (
    issuer text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX revoked_tokens_expires_at ON revoked_tokens (expires_at);
"""


def upgrade() -> None:
    run_script(DDL)
