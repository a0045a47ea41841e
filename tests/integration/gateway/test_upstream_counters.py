"""What Prometheus is told of services that fail: retries, processes that are put out, circuits that open."""

import re
from pathlib import Path

from support.gateway import GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests

LIMITS = {"rate_limit_requests": "1000000"}


def counted(gateway: GatewayUnderTest, name: str) -> float:
    found = re.search(rf'^tmws_upstream_{name}_total{{upstream="task"}} (\S+)$', metrics(gateway), re.MULTILINE)
    return float(found[1]) if found else 0


def metrics(gateway: GatewayUnderTest) -> str:
    return gateway.ask("GET", "/metrics").body.decode()


def test_retries_and_ejections_are_counted(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> None:
    folder = short_directory / "one-dead"
    urls = f"unix://{folder}/task.sock,unix://{folder}/dead.sock"
    database = postgres.create_database()
    with running_gateway(database, redis_url, folder, task_url=urls, **LIMITS) as gateway:
        statuses = {gateway.ask("GET", "/api/v1/tasks").status for _ in range(30)}
        assert statuses == {200}
        assert counted(gateway, "retries") >= 1
        assert counted(gateway, "ejections") >= 1
        assert 'tmws_upstream_replicas{state="up",upstream="task"} 1.0' in metrics(gateway)


def test_circuits_that_open_are_counted(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> None:
    folder, database = short_directory / "all-dead", postgres.create_database()
    with running_gateway(database, redis_url, folder, processes=["gateway"], **LIMITS) as gateway:
        statuses = {gateway.ask("GET", "/api/v1/tasks").status for _ in range(10)}
        assert statuses == {503}
        assert counted(gateway, "circuit_opened") >= 1
        assert 'tmws_upstream_circuit_open{upstream="task"} 1.0' in metrics(gateway)
