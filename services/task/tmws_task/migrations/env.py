"""Alembic's entry into the migrations of the task service."""

from alembic import context

from tmws_shared.migrations import run_environment
from tmws_task.models import metadata

run_environment(metadata, context.config.attributes)
