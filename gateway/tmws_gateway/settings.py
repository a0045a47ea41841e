"""Settings of the gateway."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator

from tmws_gateway.identity.addresses import Network, read_networks
from tmws_gateway.identity.issuers import TrustedIssuer, read_issuers
from tmws_gateway.identity.signing_keys import Algorithm, SigningKeys
from tmws_shared.settings import LOOPBACK, DatabaseSettings

SERVICES = ("task", "workflow", "persona", "memory", "embedding")
_URL = "unix:///path.sock or http://host:port, several separated by commas"


class AuditSettings(DatabaseSettings):
    """What the gateway and its command line are told of the audit log."""

    audit_previous_keys: str = Field(
        "",
        description="public keys that signed the audit log under former TMWS_SECRET_KEYs: `public_key` of "
        "/api/v1/audit/verify, separated by commas",
    )

    @property
    def audit_keys(self) -> list[bytes]:
        """The former public keys."""
        return [bytes.fromhex(key) for key in split_list(self.audit_previous_keys)]

    def unsafe(self) -> list[str]:
        """Return a line for each setting that is missing, or not safe in this environment."""
        are_keys = all(re.fullmatch(r"[0-9a-fA-F]{64}", key) for key in split_list(self.audit_previous_keys))
        problems = [] if are_keys else ["TMWS_AUDIT_PREVIOUS_KEYS must be keys of 64 hex digits, separated by commas"]
        return problems + super().unsafe()


class GatewaySettings(AuditSettings):
    """What the gateway is told by its environment."""

    api_host: str = Field("127.0.0.1", description="address the gateway listens on")
    api_port: int = Field(8000, ge=1, le=65535, description="port the gateway listens on")
    public_url: str = Field(
        "", description="URLs under which callers reach the gateway, separated by commas; the first one is its name"
    )
    cors_origins: str = Field("", description="origins of web pages that may call the API, separated by commas")
    trusted_proxies: str = Field(
        "",
        description="proxies whose X-Forwarded-For or Forwarded is believed: networks as CIDR, separated by commas",
    )
    auth_issuers: str = Field(
        "",
        description="other issuers whose access tokens count, as a JSON list: `issuer`, `audience`, and what they may "
        "have besides, see security.md",
    )
    token_algorithm: Algorithm = Field(
        "Ed25519", description="what our access tokens are signed with: Ed25519, or HS256, which only we can verify"
    )
    token_private_key: SecretStr = Field(
        SecretStr(""), description="Ed25519 key that signs them, in PEM; empty derives one from TMWS_SECRET_KEY"
    )
    token_previous_keys: str = Field(
        "", description="public keys that signed them before, as the JWK Set of /.well-known/jwks.json"
    )
    audit_retention_days: int = Field(
        0, ge=0, le=36_500, description="audit records are removed after so many days; 0 keeps them for ever"
    )
    max_connections_per_address: int = Field(
        4096, ge=1, description="connections that one address may have open at a time; trusted proxies may have more"
    )
    rate_limit_requests: int = Field(100, ge=1, le=1_000_000, description="requests a caller may make in a period")
    rate_limit_period: int = Field(60, ge=1, le=86_400, description="length of that period in seconds")
    task_url: str = Field("", description=f"where the task service listens: {_URL}")
    workflow_url: str = Field("", description=f"where the workflow service listens: {_URL}")
    persona_url: str = Field("", description=f"where the persona service listens: {_URL}")
    memory_url: str = Field("", description=f"where the memory service listens: {_URL}")
    embedding_url: str = Field("", description=f"where the embedding service listens: {_URL}")
    mcp_bridge_url: str = Field("", description=f"where the MCP bridge listens, for /mcp; empty has none: {_URL}")

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
    def proxies(self) -> list[Network]:
        """The networks of trusted proxies."""
        return read_networks(split_list(self.trusted_proxies))

    @property
    def issuers(self) -> list[TrustedIssuer]:
        """The other issuers."""
        return read_issuers(self.auth_issuers)

    def signing_keys(self) -> SigningKeys:
        """Return the keys of our access tokens."""
        secret, private_key = self.secret_key.get_secret_value(), self.token_private_key.get_secret_value()
        return SigningKeys.of(secret, self.token_algorithm, private_key, self.token_previous_keys)

    @property
    def is_exposed(self) -> bool:
        """Whether other machines can reach the gateway."""
        return self.api_host not in LOOPBACK

    def unsafe(self) -> list[str]:
        """Return a line for each setting that is missing, or not safe in this environment."""
        problems = super().unsafe()
        called = self.upstreams | ({"mcp_bridge": self.mcp_bridge_url} if self.mcp_bridge_url else {})
        problems += [f"TMWS_{name.upper()}_URL must be {_URL}" for name, url in called.items() if not _is_upstream(url)]
        problems += [
            "TMWS_PUBLIC_URL must be http://host or https://host, without a path"
            for url in self.public_urls
            if not _is_origin(url)
        ]
        return problems + self._origin_problems() + self._identity_problems() + self._reused_secrets()

    def _identity_problems(self) -> list[str]:
        problems: list[str] = []
        try:
            self.signing_keys()
        except ValueError as error:
            problems.append(str(error))
        try:
            read_networks(split_list(self.trusted_proxies))
        except ValueError:
            problems.append("TMWS_TRUSTED_PROXIES must be networks such as 10.0.0.0/8")
        try:
            read_issuers(self.auth_issuers)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            problems += [f"TMWS_AUTH_ISSUERS: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found]
        except ValueError as error:
            problems.append(f"TMWS_AUTH_ISSUERS: {error}")
        return problems

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


def _is_upstream(urls: str) -> bool:
    every = [urlsplit(url) for url in split_list(urls)]
    return bool(every) and all(
        parts.path.startswith("/") if parts.scheme == "unix" else parts.scheme == "http" and parts.hostname
        for parts in every
    )


def _is_origin(url: SplitResult) -> bool:
    return url.scheme in {"http", "https"} and bool(url.hostname) and url.path in {"", "/"}
