"""Executions that pause, go on and are tried again; steps within steps; what is to be undone."""

from tmws_shared.migrations import run_script

revision = "0002"
down_revision = "0001"

DDL = """
SELECT 1;
"""


def upgrade() -> None:
    run_script(DDL)
