"""The persona service on a fresh database for each test module."""

from collections.abc import AsyncGenerator

import pytest

from support.postgres import DatabaseUrls, PostgresForTests
from support.service import ServiceUnderTest, app_of, running, settings_for
from tmws_persona.app import build
from tmws_persona.settings import PersonaSettings


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database()


@pytest.fixture
async def persona(database: DatabaseUrls) -> AsyncGenerator[ServiceUnderTest]:
    async with running(app_of(build, settings_for(PersonaSettings, "persona", database)), "persona") as service:
        yield service
