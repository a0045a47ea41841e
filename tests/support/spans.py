"""A receiver of OpenTelemetry spans: OTLP over HTTP, as a collector would take them.

with receiving_spans() as spans:
    ...  # OTEL_EXPORTER_OTLP_ENDPOINT=spans.endpoint
    spans.wait_for(trace_id, {"tmws-gateway", "tmws-task"})
"""

import gzip
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.waiting import eventually

TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Span:
    """One span, as far as tests look at it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]

    @property
    def database(self) -> str:
        """Which database system it is a call to, if any."""
        return self.attributes.get("db.system.name") or self.attributes.get("db.system", "")


class Spans:
    """The spans received so far."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    def keep(self, body: bytes) -> None:
        """Keep the spans of one export."""
        request: Any = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            found = [_span(service, span) for scope in resource.scope_spans for span in scope.spans]
            with self._lock:
                self._spans.extend(found)

    def of(self, trace_id: str) -> list[Span]:
        """Return the spans of one trace."""
        with self._lock:
            return [span for span in self._spans if span.trace_id == trace_id]

    def named(self, service: str, name: str) -> list[Span]:
        """Return the spans of a service whose name begins so, once there is one; none after 15 s."""
        return eventually(lambda: self._named(service, name), TIMEOUT_S)

    def _named(self, service: str, name: str) -> list[Span]:
        with self._lock:
            return [span for span in self._spans if span.service == service and span.name.startswith(name)]

    def wait_for(self, trace_id: str, services: set[str]) -> list[Span]:
        """Return the spans of the trace once each of these services has one, or what there is after 15 s."""
        deadline = time.monotonic() + TIMEOUT_S
        while not services <= {span.service for span in self.of(trace_id)} and time.monotonic() < deadline:
            time.sleep(0.05)
        # What belongs to the same export may still be on its way.
        time.sleep(1.0)
        return self.of(trace_id)


@contextmanager
def receiving_spans() -> Generator[Spans]:
    """Yield a receiver that listens on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            spans.keep(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    spans = Spans(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in pairs}
