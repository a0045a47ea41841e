"""Logs as JSON lines, OpenTelemetry traces, Prometheus metrics."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind
from prometheus_client import Counter, Gauge, Histogram

# user:password@ of any URL, and anything that looks like one of our keys or a JWT
_SECRETS = re.compile(r"(?<=://)[^/\s@]+(?=@)|tmws_[A-Za-z0-9]+_[A-Za-z0-9_-]+|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+")

_REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP requests by route",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_CHATTY = ("httpx2", "httpcore2", "uvicorn.error", "alembic", "arq.worker")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
# Ids need not be hard to guess, and the system's own source costs ten times as much.
_ids = random.Random()  # noqa: S311
_exports = False
tracer = trace.get_tracer("tmws")


class _Trace(NamedTuple):
    """The id of a trace, and the W3C headers that carry it on."""

    id: str
    headers: dict[str, str]


_unrecorded: ContextVar[_Trace | None] = ContextVar("unrecorded", default=None)

__all__ = [
    "Counter",
    "Gauge",
    "Histogram",
    "calling",
    "carry_trace",
    "note_request",
    "redact",
    "serving",
    "set_up",
    "trace_id",
    "tracer",
]


def redact(text: str) -> str:
    """Return the text with passwords, keys and tokens replaced."""
    return _SECRETS.sub("***", text)


class JsonLines(logging.Formatter):
    """One JSON object a line; control characters are escaped by JSON itself."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON line with the trace it belongs to."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if current := trace_id():
            line["trace_id"] = current
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line)


def set_up(service: str, level: str) -> None:
    """Send this process's logs to stderr, and its traces to the OTLP endpoint when one is set."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    resource = Resource.create({"service.name": f"tmws-{service}"})
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        provider = TracerProvider(resource=resource)
        _export(provider)
    else:
        # Trace ids for logs and problems go on, spans that nobody exports are not made.
        provider = TracerProvider(sampler=ALWAYS_OFF, resource=resource)
    trace.set_tracer_provider(provider)


def _export(provider: TracerProvider) -> None:
    global _exports  # noqa: PLW0603 -- there is one tracer provider in a process, too
    _exports = True
    # Imported here: without an endpoint nobody pays for them.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    AsyncPGInstrumentor().instrument(tracer_provider=provider)
    RedisInstrumentor().instrument(tracer_provider=provider)  # pyright: ignore[reportUnknownMemberType] -- untyped kwargs


@lru_cache(4096)
def _seconds_of(method: str, route: str, status: int) -> Histogram:
    return _REQUEST_SECONDS.labels(method, route, status)


def note_request(method: str, route: str, status: int, duration_s: float) -> None:
    """Count an answered request in the metrics."""
    _seconds_of(method, route, status).observe(duration_s)


def serving(method: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Return the span of a request that came with these headers, in the trace they name or a new one."""
    if not _exports:
        return _Unrecorded(headers)
    return tracer.start_as_current_span(method, context=propagate.extract(headers), kind=SpanKind.SERVER)


def calling(name: str, attributes: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Return the span of a call to another process; while nobody exports spans it has none of its own."""
    if not _exports:
        return nullcontext(INVALID_SPAN)
    return tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes)


class _Unrecorded(AbstractContextManager[Span]):
    """A span that nobody exports: ids for logs, problems and callers, as text, at a tenth of the cost."""

    __slots__ = ("_headers", "_token")
    _token: Token[_Trace | None]

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __enter__(self) -> Span:
        self._token = _unrecorded.set(_go_on(self._headers))
        return INVALID_SPAN

    def __exit__(self, *error: object) -> None:
        _unrecorded.reset(self._token)


def _go_on(headers: Mapping[str, str]) -> _Trace:
    """A span of its own in the trace that the headers name, or in a new one; with the state of its vendors."""
    given = headers.get("traceparent")
    if given is None:
        return _new_span(_new_id(128))
    found = _TRACEPARENT.fullmatch(given)
    if found is not None and "tracestate" not in headers:
        return _new_span(int(found.group(1), 16) or _new_id(128))
    parent = trace.get_current_span(propagate.extract(headers)).get_span_context()
    span = _new_span(parent.trace_id or _new_id(128))
    if parent.trace_state:
        span.headers["tracestate"] = parent.trace_state.to_header()
    return span


def _new_span(trace_number: int) -> _Trace:
    name = f"{trace_number:032x}"
    return _Trace(name, {"traceparent": f"00-{name}-{_new_id(64):016x}-00"})


def _new_id(bits: int) -> int:
    """A random id; the one that means none is as likely as any other, and must not be."""
    return _ids.getrandbits(bits) or 1


def trace_id() -> str | None:
    """Return the current trace id as 32 hex digits, None outside a trace."""
    unrecorded = _unrecorded.get()
    if unrecorded is not None:
        return unrecorded.id
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def carry_trace() -> Mapping[str, str]:
    """Return the W3C trace context headers of the current span."""
    unrecorded = _unrecorded.get()
    if unrecorded is not None:
        return unrecorded.headers
    current = trace.get_current_span().get_span_context()
    if current.is_valid and not current.trace_state:
        flags = current.trace_flags
        return {"traceparent": f"00-{current.trace_id:032x}-{current.span_id:016x}-{flags:02x}"}
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
