"""Schedules and when they fired."""

from tmws_shared.migrations import run_script

revision = "0004"
down_revision = "0003"

DDL = """
SELECT 1;
"""


def upgrade() -> None:
    run_script(DDL)
