"""Alembic's entry into the migrations of the workflow service."""

from alembic import context

from tmws_shared.migrations import run_environment
from tmws_workflow.models import metadata

run_environment(metadata, context.config.attributes)
