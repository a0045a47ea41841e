"""Protected resource metadata (RFC 9728)."""

from urllib.parse import urlsplit

import pytest

from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.metadata import ResourceMetadata

URLS = [urlsplit("https://tmws.test"), urlsplit("http://localhost:8000")]
ISSUERS = ["https://id.test"]


@pytest.mark.parametrize(
    ("host", "origin"),
    [("tmws.test", "https://tmws.test"), ("TMWS.test", "https://tmws.test"),
     ("localhost:8000", "http://localhost:8000"), ("127.0.0.1:9", "https://tmws.test")],
)  # fmt: skip
def test_document_is_about_the_url_that_was_used(host: str, origin: str) -> None:
    metadata = ResourceMetadata(URLS, ISSUERS)
    assert metadata.location(host) == f"{origin}/.well-known/oauth-protected-resource"
    assert metadata.document(host)["resource"] == origin
    assert metadata.document(host, "/mcp")["resource"] == f"{origin}/mcp"


def test_document_names_issuers_and_scopes() -> None:
    document = ResourceMetadata(URLS, ISSUERS).document("tmws.test")
    assert document["authorization_servers"] == ISSUERS
    assert document["scopes_supported"] == sorted(SCOPES)
    assert document["bearer_methods_supported"] == ["header"]


def test_without_issuers_there_is_nowhere_to_be_sent_to() -> None:
    assert "authorization_servers" not in ResourceMetadata(URLS, []).document("tmws.test")


def test_without_a_public_url_the_callers_own_is_used() -> None:
    assert ResourceMetadata([], []).document("localhost:8000")["resource"] == "http://localhost:8000"
