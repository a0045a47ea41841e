"""Alembic's entry into the migrations of the persona service."""

from alembic import context

from tmws_persona.models import metadata
from tmws_shared.migrations import run_environment

run_environment(metadata, context.config.attributes)
