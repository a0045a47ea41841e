"""The persona service's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from tmws_persona.embedding_client import EmbeddingClient
from tmws_persona.figures import Figures
from tmws_persona.matching import Matcher
from tmws_persona.models import SCHEMA
from tmws_persona.routes import router, stats_router
from tmws_persona.service import PersonaService
from tmws_persona.settings import PersonaSettings
from tmws_persona.waking import Waking
from tmws_shared.app import create_app, open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.background import running
from tmws_shared.events import relaying
from tmws_shared.http import ServiceClient
from tmws_shared.pagination import Cursors

# Each list that is asked for has at most 100 things, whatever their authors have put into them.
MAX_ANSWER_BYTES = 8 * 1024 * 1024


@asynccontextmanager
async def open_clients(settings: PersonaSettings) -> AsyncGenerator[Mapping[str, ServiceClient]]:
    """Yield a client for each service that is asked, by its name."""
    tokens = InternalTokens(settings.secret_key.get_secret_value())
    async with AsyncExitStack() as stack:
        clients = {name: ServiceClient(url, name, tokens, MAX_ANSWER_BYTES) for name, url in settings.upstreams.items()}
        for client in clients.values():
            stack.push_async_callback(client.close)
        yield clients


def build(settings: PersonaSettings) -> FastAPI:
    """Return the persona service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        redis_url = settings.redis_url.get_secret_value()
        async with (
            open_database(settings, "tmws_persona", SCHEMA, max_size=4) as database,
            open_clients(settings) as clients,
            relaying(database, redis_url) as (loops, _),
            running(loops),
        ):
            personas = PersonaService(database, Cursors(settings.secret_key.get_secret_value()))
            app.state.personas = personas
            app.state.matcher = Matcher(database, personas, EmbeddingClient(clients["embedding"]))
            app.state.figures = Figures(personas, clients)
            app.state.waking = Waking(personas, clients)
            app.state.checks["database"] = database.check
            await personas.seed()
            yield

    return create_app("persona", settings, routers=[router, stats_router], lifespan=lifespan)


if __name__ == "__main__":
    serve("persona", PersonaSettings, build)
