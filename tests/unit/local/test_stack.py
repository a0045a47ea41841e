"""The process table, and the environment each process gets."""

from pathlib import Path

import pytest

from tmws_local.configuration import Configuration, StackSettings
from tmws_local.paths import Paths
from tmws_local.stack import GATEWAY, POSTGRES, REDIS, STACK, Addresses, Process, environment

ADDRESSES = Addresses(
    services={process.name: f"unix:///run/{process.name}.sock" for process in STACK},
    databases={"task": "postgresql://tmws_task:pw@/tmws", "gateway": "postgresql://tmws_gateway:pw@/tmws"},
    redis="unix:///run/redis.sock?db=0",
)
TASK = next(process for process in STACK if process.name == "task")
GATEWAY_PROCESS = next(process for process in STACK if process.name == GATEWAY)


def configuration(**variables: str) -> Configuration:
    return Configuration(variables, Paths(Path("/data")), StackSettings(api_port=9000))


def test_names_are_unique() -> None:
    assert len({process.name for process in STACK}) == len(STACK)


@pytest.mark.parametrize("process", STACK, ids=lambda process: process.name)
def test_process_calls_only_what_is_in_the_table(process: Process) -> None:
    assert set(process.upstreams) <= {other.name for other in STACK}


@pytest.mark.parametrize("process", STACK, ids=lambda process: process.name)
def test_process_with_a_schema_needs_the_database(process: Process) -> None:
    assert (POSTGRES in process.needs) == (process.schema is not None)


def test_service_listens_on_its_own_socket() -> None:
    assert environment(TASK, configuration(), ADDRESSES)["TMWS_LISTEN"] == "unix:///run/task.sock"


def test_service_gets_its_own_database_role() -> None:
    assert environment(TASK, configuration(), ADDRESSES)["TMWS_DATABASE_URL"] == ADDRESSES.databases["task"]


def test_admin_login_reaches_no_process() -> None:
    given = configuration(TMWS_DATABASE_URL="postgresql://admin:x@db/tmws", TMWS_DATABASE_URL_FILE="/admin-url")

    variables = environment(TASK, given, ADDRESSES)

    assert "admin" not in " ".join(variables.values())


def test_process_without_a_schema_gets_no_database() -> None:
    embedding = next(process for process in STACK if process.name == "embedding")

    assert "TMWS_DATABASE_URL" not in environment(embedding, configuration(), ADDRESSES)


def test_gateway_listens_on_the_public_address() -> None:
    variables = environment(GATEWAY_PROCESS, configuration(), ADDRESSES)

    assert (variables["TMWS_API_HOST"], variables["TMWS_API_PORT"]) == ("127.0.0.1", "9000")


def test_gateway_knows_every_service() -> None:
    variables = environment(GATEWAY_PROCESS, configuration(), ADDRESSES)

    assert variables["TMWS_MEMORY_URL"] == "unix:///run/memory.sock"


def test_nothing_unknown_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "private")

    assert "AWS_SECRET_ACCESS_KEY" not in environment(TASK, configuration(), ADDRESSES)


def test_without_redis_there_is_no_redis_url() -> None:
    without = Addresses(ADDRESSES.services, ADDRESSES.databases, None)

    assert "TMWS_REDIS_URL" not in environment(TASK, configuration(), without)


def test_store_names_are_no_process_names() -> None:
    assert not {POSTGRES, REDIS} & {process.name for process in STACK}
