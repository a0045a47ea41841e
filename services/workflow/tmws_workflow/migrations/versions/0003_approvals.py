"""Approvals, signals and agents' work."""

from tmws_shared.migrations import run_script

revision = "0003"
down_revision = "0002"

DDL = """
SELECT 1;
"""


def upgrade() -> None:
    run_script(DDL)
