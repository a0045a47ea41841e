"""Alembic's entry into the migrations of the gateway."""

from alembic import context

from tmws_gateway.models import metadata
from tmws_shared.migrations import run_environment

run_environment(metadata, context.config.attributes)
