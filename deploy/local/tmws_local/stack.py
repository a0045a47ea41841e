"""What gets started: the process table of TMWS, and the environment of each process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from tmws_local.configuration import Configuration

POSTGRES = "postgres"
REDIS = "redis"
GATEWAY = "gateway"
MCP = "mcp-bridge"
# What a Python program may need of the machine; everything else it gets by name.
_MACHINE = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "TEMP", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Process:
    """One process: the module it runs, the database schema it uses, the services it calls."""

    name: str
    module: str
    schema: str | None = None
    redis: bool = True
    upstreams: tuple[str, ...] = field(default=())

    @property
    def needs(self) -> tuple[str, ...]:
        """The stores that must be ready before it starts."""
        return ((POSTGRES,) if self.schema else ()) + ((REDIS,) if self.redis else ())


# In this order they are shown. The gateway and the workers stop before the services they call.
STACK = (
    Process("embedding", "tmws_embedding.app"),
    Process("persona", "tmws_persona.app", "persona", upstreams=("embedding", "memory", "task", "workflow")),
    Process("task", "tmws_task.app", "task"),
    Process("task-worker", "tmws_task.worker", "task"),
    Process("memory", "tmws_memory.app", "memory", upstreams=("embedding",)),
    Process("memory-worker", "tmws_memory.worker", "memory", upstreams=("embedding",)),
    Process("workflow", "tmws_workflow.app", "workflow", upstreams=("memory", "persona", "task")),
    Process("workflow-worker", "tmws_workflow.worker", "workflow", upstreams=("memory", "persona", "task")),
    Process(MCP, "tmws_mcp_bridge", redis=False),
    Process(
        GATEWAY, "tmws_gateway.app", "gateway", upstreams=("embedding", "memory", "persona", "task", "workflow", MCP)
    ),
)


@dataclass(frozen=True)
class Addresses:
    """Where everything of one running stack is reached."""

    services: Mapping[str, str]
    databases: Mapping[str, str]
    redis: str | None


def environment(process: Process, configuration: Configuration, addresses: Addresses) -> dict[str, str]:
    """Return the whole environment of a process: nothing is inherited unseen."""
    machine = {name: os.environ[name] for name in _MACHINE if name in os.environ}
    given = {
        name: value
        for name, value in configuration.variables.items()
        if name not in {"TMWS_DATABASE_URL_FILE", "TMWS_REDIS_URL_FILE", "TMWS_REDIS_URL", "TMWS_DATABASE_URL"}
    }
    ours = {
        "PYTHONUNBUFFERED": "1",
        "TMWS_EXIT_WITH_STDIN": "true",
        "OTEL_SERVICE_NAME": f"tmws-{process.name}",
        **{f"TMWS_{name.upper().replace('-', '_')}_URL": addresses.services[name] for name in process.upstreams},
    }
    if process.name == MCP:
        ours["TMWS_URL"] = configuration.settings.public_url
    if process.name == GATEWAY:
        ours |= {
            "TMWS_API_HOST": configuration.settings.api_host,
            "TMWS_API_PORT": str(configuration.settings.api_port),
        }
    else:
        ours["TMWS_LISTEN"] = addresses.services[process.name]
    if process.schema:
        ours["TMWS_DATABASE_URL"] = addresses.databases[process.schema]
    if process.redis and addresses.redis:
        ours["TMWS_REDIS_URL"] = addresses.redis
    return machine | given | ours


def command_line(process: Process, addresses: Addresses) -> tuple[str, ...]:
    """Return the command line of a process."""
    # The bridge speaks over standard input unless told otherwise.
    return python(process.module, *(("--http", addresses.services[MCP]) if process.name == MCP else ()))


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command line that runs a module with this very Python."""
    return (sys.executable, "-m", *arguments)
