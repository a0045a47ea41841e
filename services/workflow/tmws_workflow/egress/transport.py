"""A transport that connects to the addresses the guard has checked, whatever the name resolves to afterwards."""

from __future__ import annotations

import httpx2

from tmws_workflow.egress.guard import Guard, name_of

# No connection is kept: one made for a name must not serve another name at the same address.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends each request to a checked address, with the Host and the server name of its URL."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # The environment may bring certificates (SSL_CERT_FILE), but no proxy.
        self._inner = httpx2.AsyncHTTPTransport(
            verify=httpx2.create_ssl_context(trust_env=True), trust_env=False, limits=_LIMITS
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            Refused, Unresolved: the guard does not let it out.
            httpx2.TransportError: no address answered.
        """
        url, addresses = request.url, await self._guard.addresses(request.url)
        request.extensions = {**request.extensions, "sni_hostname": name_of(url)}
        for address in addresses[:-1]:
            try:
                return await self._send(request, url, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._send(request, url, addresses[-1])

    async def _send(self, request: httpx2.Request, url: httpx2.URL, address: str) -> httpx2.Response:
        request.url = url.copy_with(host=address)
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = url

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()
