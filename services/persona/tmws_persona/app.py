"""The persona service's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_persona.models import SCHEMA
from tmws_persona.routes import router, stats_router
from tmws_persona.service import PersonaService
from tmws_persona.settings import PersonaSettings
from tmws_shared.app import create_app, open_database, serve
from tmws_shared.background import running
from tmws_shared.events import relaying
from tmws_shared.pagination import Cursors


def build(settings: PersonaSettings) -> FastAPI:
    """Return the persona service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        redis_url = settings.redis_url.get_secret_value()
        async with (
            open_database(settings, "tmws_persona", SCHEMA, max_size=4) as database,
            relaying(database, redis_url) as (loops, _),
            running(loops),
        ):
            app.state.personas = PersonaService(database, Cursors(settings.secret_key.get_secret_value()))
            app.state.checks["database"] = database.check
            await app.state.personas.seed()
            yield

    return create_app("persona", settings, routers=[router, stats_router], lifespan=lifespan)


if __name__ == "__main__":
    serve("persona", PersonaSettings, build)
