"""Logs as JSON lines, OpenTelemetry traces, Prometheus metrics."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import Counter, Gauge, Histogram

# user:password@ of any URL, and anything that looks like one of our keys or a JWT
_SECRETS = re.compile(r"(?<=://)[^/\s@]+(?=@)|tmws_[A-Za-z0-9]+_[A-Za-z0-9_-]+|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+")

REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP requests by route",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_CHATTY = ("httpx2", "httpcore2", "uvicorn.error", "alembic", "arq.worker")
tracer = trace.get_tracer("tmws")

__all__ = [
    "REQUEST_SECONDS",
    "Counter",
    "Gauge",
    "Histogram",
    "carry_trace",
    "redact",
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
    # Imported here: without an endpoint nobody pays for them.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    AsyncPGInstrumentor().instrument(tracer_provider=provider)
    RedisInstrumentor().instrument(tracer_provider=provider)  # pyright: ignore[reportUnknownMemberType] -- untyped kwargs


def trace_id() -> str | None:
    """Return the current trace id as 32 hex digits, None outside a trace."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def carry_trace() -> Mapping[str, str]:
    """Return the W3C trace context headers of the current span."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
