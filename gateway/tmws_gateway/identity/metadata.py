"""What tells a client how to sign in here: protected resource metadata (RFC 9728)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult

from tmws_contracts.scopes import SCOPES

WELL_KNOWN = "/.well-known/oauth-protected-resource"
MCP = "/mcp"


class ResourceMetadata:
    """Describes this gateway and the MCP bridge beside it under each of their URLs; the first one is the name."""

    def __init__(self, public_urls: Sequence[SplitResult], issuers: Sequence[str]) -> None:
        self._by_host = {url.netloc.lower(): f"{url.scheme}://{url.netloc}" for url in reversed(public_urls)}
        self._first = f"{public_urls[0].scheme}://{public_urls[0].netloc}" if public_urls else None
        self._issuers = list(issuers)

    def location(self, host: str, path: str = "") -> str:
        """Return the URL of the document of the resource at `path`, for a caller that used this Host."""
        return f"{self._origin(host)}{WELL_KNOWN}{path}"

    def document(self, host: str, path: str = "") -> dict[str, Any]:
        """Return the document of the resource at `path`."""
        origin = self._origin(host)
        described = {
            "resource": f"{origin}{path}",
            "resource_name": "TMWS",
            "resource_documentation": f"{origin}/docs",
            "scopes_supported": sorted(SCOPES),
            "bearer_methods_supported": ["header"],
        }
        # Without another issuer there is nowhere to be sent to: an API key comes from whoever manages keys.
        return described | ({"authorization_servers": self._issuers} if self._issuers else {})

    def _origin(self, host: str) -> str:
        return self._by_host.get(host.lower()) or self._first or f"http://{host}"
