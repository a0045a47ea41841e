"""The gateway refuses to start with settings that are not safe, and names every problem at once."""

import pytest

from tmws_gateway.settings import GatewaySettings
from tmws_shared.settings import ConfigurationError

SECRET = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP"
GOOD = {
    "TMWS_SECRET_KEY": SECRET,
    "TMWS_DATABASE_URL": "postgresql://tmws_gateway:d4x-Qm2vTz@db.test/tmws?sslmode=verify-full",
    "TMWS_REDIS_URL": "rediss://:r9Lk-2WqXa@redis.test/0",
    "TMWS_ENVIRONMENT": "production",
    "TMWS_AUTH_ENABLED": "true",
    "TMWS_API_HOST": "0.0.0.0",  # noqa: S104 -- as a container does
    "TMWS_PUBLIC_URL": "https://tmws.test, http://gateway:8000",
    "TMWS_CORS_ORIGINS": "https://app.test",
    "TMWS_TASK_URL": "http://task:8101",
    "TMWS_WORKFLOW_URL": "unix:///run/workflow.sock",
    "TMWS_PERSONA_URL": "http://persona:8103",
    "TMWS_MEMORY_URL": "http://memory:8104",
    "TMWS_EMBEDDING_URL": "http://embedding:8105",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        GatewaySettings.from_environment({**GOOD, **changes})
    return caught.value.problems


def test_safe_settings_are_taken() -> None:
    settings = GatewaySettings.from_environment(GOOD)
    assert settings.listen == "http://0.0.0.0:8000"
    assert [url.hostname for url in settings.public_urls] == ["tmws.test", "gateway"]
    assert settings.upstreams["workflow"] == "unix:///run/workflow.sock"


def test_settings_of_identity_are_taken() -> None:
    issuers = '[{"issuer": "http://127.0.0.1:9/realm", "audience": "a", "jwks_uri": "https://id.test:8443/keys"}]'
    proxies = "10.0.0.0/8, 2001:db8::1"
    settings = GatewaySettings.from_environment({**GOOD, "TMWS_AUTH_ISSUERS": issuers, "TMWS_TRUSTED_PROXIES": proxies})
    assert [trusted.namespace for trusted in settings.issuers] == ["default"]
    assert [str(network) for network in settings.proxies] == ["10.0.0.0/8", "2001:db8::1/128"]


def test_every_problem_is_told_at_once() -> None:
    told = problems(
        TMWS_AUTH_ENABLED="false",
        TMWS_SECRET_KEY="changeme",
        TMWS_CORS_ORIGINS="*",
        TMWS_TASK_URL="",
        TMWS_PUBLIC_URL="x",
    )
    assert [problem.partition(" ")[0] for problem in told] == [
        "TMWS_SECRET_KEY", "TMWS_AUTH_ENABLED", "TMWS_TASK_URL", "TMWS_PUBLIC_URL", "TMWS_CORS_ORIGINS",
    ]  # fmt: skip


ISSUER = '{"issuer": "https://id.test", "audience": "https://tmws.test"'


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"TMWS_TRUSTED_PROXIES": "10.0.0.1/8"}, "TMWS_TRUSTED_PROXIES must be networks"),
        ({"TMWS_TRUSTED_PROXIES": "0.0.0.0/0"}, "TMWS_TRUSTED_PROXIES must be networks"),
        ({"TMWS_TOKEN_ALGORITHM": "none"}, "TMWS_TOKEN_ALGORITHM"),
        ({"TMWS_TOKEN_PRIVATE_KEY": "x"}, "TMWS_TOKEN_PRIVATE_KEY must be an Ed25519 key"),
        ({"TMWS_TOKEN_PREVIOUS_KEYS": "{}"}, "TMWS_TOKEN_PREVIOUS_KEYS must be a JWK Set"),
        ({"TMWS_AUTH_ISSUERS": "https://id.test"}, "TMWS_AUTH_ISSUERS: "),
        ({"TMWS_AUTH_ISSUERS": f"[{ISSUER}}}, {ISSUER}}}]"}, "TMWS_AUTH_ISSUERS: an issuer is named twice"),
        ({"TMWS_AUTH_ISSUERS": '[{"issuer": "https://id.test"}]'}, "TMWS_AUTH_ISSUERS: 0.audience: "),
        ({"TMWS_AUTH_ISSUERS": f'[{ISSUER}, "namespace": "A B"}}]'}, "TMWS_AUTH_ISSUERS: 0.namespace: "),
        ({"TMWS_AUTH_ISSUERS": f'[{ISSUER}, "jwks": "x"}}]'}, "TMWS_AUTH_ISSUERS: 0.jwks: "),
        ({"TMWS_AUTH_ISSUERS": f'[{ISSUER}, "jwks_uri": "http://id.test/keys"}}]'}, "0.jwks_uri: "),
        ({"TMWS_AUTH_ISSUERS": f'[{ISSUER}, "jwks_uri": "https://a:b@id.test/keys"}}]'}, "0.jwks_uri: "),
        ({"TMWS_AUTH_ISSUERS": f'[{ISSUER}, "jwks_uri": "file:///etc/passwd"}}]'}, "0.jwks_uri: "),
        ({"TMWS_SECRET_KEY": "a" * 40}, "easy to guess"),
        ({"TMWS_SECRET_KEY": f"{SECRET}-change-me"}, "placeholder"),
        ({"TMWS_DATABASE_URL": ""}, "TMWS_DATABASE_URL must be postgresql://user:password@host:port/database"),
        ({"TMWS_DATABASE_URL": "postgresql://u:postgres@db.test/x?sslmode=require"}, "default"),
        ({"TMWS_DATABASE_URL": "postgresql://u:d4x-Qm2vTz@db.test/x"}, "without TLS"),
        ({"TMWS_DATABASE_URL": f"postgresql://u:{SECRET}@db.test/x?sslmode=require"}, "also the password"),
        ({"TMWS_REDIS_URL": "redis://redis.test/0"}, "without a password"),
        ({"TMWS_CORS_ORIGINS": "https://app.test/path"}, "must be origins"),
        ({"TMWS_CORS_ORIGINS": "null"}, "must be origins"),
        ({"TMWS_MEMORY_URL": "ftp://memory"}, "TMWS_MEMORY_URL must be"),
        ({"TMWS_API_PORT": "0"}, "TMWS_API_PORT"),
        ({"TMWS_RATE_LIMIT_REQUESTS": "none"}, "TMWS_RATE_LIMIT_REQUESTS"),
        ({"TMWS_RATELIMIT_REQUESTS": "5"}, "did you mean TMWS_RATE_LIMIT_REQUESTS"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unsafe_setting_is_named(changes: dict[str, str], says: str) -> None:
    assert says in problems(**changes)[0]


def test_any_origin_is_allowed_in_development_only() -> None:
    settings = GatewaySettings.from_environment({**GOOD, "TMWS_ENVIRONMENT": "development", "TMWS_CORS_ORIGINS": "*"})
    assert settings.origins == {"*"}


def test_gateway_listens_on_loopback_unless_told_otherwise() -> None:
    settings = GatewaySettings.from_environment({**GOOD, "TMWS_API_HOST": ""})
    assert (settings.listen, settings.is_exposed) == ("http://127.0.0.1:8000", False)


def test_ipv6_address_is_listened_on() -> None:
    assert GatewaySettings.from_environment({**GOOD, "TMWS_API_HOST": "::1"}).listen == "http://[::1]:8000"
