"""Settings of the gateway."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from tmws_shared.settings import LOOPBACK, DatabaseSettings

SERVICES = ("task", "workflow", "persona", "memory", "embedding")
_URL = "unix:///path.sock or http://host:port"


class GatewaySettings(DatabaseSettings):
    """What the gateway is told by its environment."""

    api_host: str = Field("127.0.0.1", description="address the gateway listens on")
    api_port: int = Field(8000, ge=1, le=65535, description="port the gateway listens on")
    public_url: str = Field(
        "", description="URLs under which callers reach the gateway, separated by commas; the first one is its name"
    )
    cors_origins: str = Field("", description="origins of web pages that may call the API, separated by commas")
    rate_limit_requests: int = Field(100, ge=1, le=1_000_000, description="requests a caller may make in a period")
    rate_limit_period: int = Field(60, ge=1, le=86_400, description="length of that period in seconds")
    task_url: str = Field("", description=f"where the task service listens: {_URL}")
    workflow_url: str = Field("", description=f"where the workflow service listens: {_URL}")
    persona_url: str = Field("", description=f"where the persona service listens: {_URL}")
    memory_url: str = Field("", description=f"where the memory service listens: {_URL}")
    embedding_url: str = Field("", description=f"where the embedding service listens: {_URL}")

    @model_validator(mode="before")
    @classmethod
    def _listen_on_api_port(cls, values: dict[str, Any]) -> dict[str, Any]:
        host = str(values.get("api_host", "127.0.0.1"))
        host = f"[{host}]" if ":" in host else host
        return {**values, "listen": f"http://{host}:{values.get('api_port', 8000)}"}

    @property
    def upstreams(self) -> dict[str, str]:
        """The URL of each service."""
        return {name: getattr(self, f"{name}_url") for name in SERVICES}

    @property
    def public_urls(self) -> list[SplitResult]:
        """The URLs callers use."""
        return [urlsplit(url) for url in split_list(self.public_url)]

    @property
    def origins(self) -> frozenset[str]:
        """The origins of other web pages that may call the API."""
        return frozenset(split_list(self.cors_origins))

    @property
    def is_exposed(self) -> bool:
        """Whether other machines can reach the gateway."""
        return self.api_host not in LOOPBACK

    def unsafe(self) -> list[str]:
        """Return a line for each setting that is missing, or not safe in this environment."""
        problems = super().unsafe()
        problems += [
            f"TMWS_{name.upper()}_URL must be {_URL}" for name, url in self.upstreams.items() if not _is_upstream(url)
        ]
        problems += [
            "TMWS_PUBLIC_URL must be http://host or https://host, without a path"
            for url in self.public_urls
            if not _is_origin(url)
        ]
        return problems + self._origin_problems() + self._reused_secrets()

    def _origin_problems(self) -> list[str]:
        if "*" in self.origins:
            return ["TMWS_CORS_ORIGINS must not be *; name each origin"] if self.is_guarded else []
        return [
            "TMWS_CORS_ORIGINS must be origins such as https://app.example.com"
            for origin in sorted(self.origins)
            if not _is_origin(urlsplit(origin)) or urlsplit(origin).path
        ]

    def _reused_secrets(self) -> list[str]:
        secret = self.secret_key.get_secret_value()
        others = {"TMWS_DATABASE_URL": self.database_url, "TMWS_REDIS_URL": self.redis_url}
        return [
            f"TMWS_SECRET_KEY is also the password in {name}"
            for name, url in others.items()
            if self.is_guarded and secret and urlsplit(url.get_secret_value()).password == secret
        ]


def split_list(text: str) -> list[str]:
    """Return the items of a list separated by commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_upstream(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.path.startswith("/") if parts.scheme == "unix" else parts.scheme == "http" and parts.hostname)


def _is_origin(url: SplitResult) -> bool:
    return url.scheme in {"http", "https"} and bool(url.hostname) and url.path in {"", "/"}
