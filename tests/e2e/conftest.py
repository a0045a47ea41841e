"""The stack that the tests of this folder share, and one with auth switched on."""

from collections.abc import Iterator

import httpx2
import pytest

from support.spans import Spans, receiving_spans
from support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def spans() -> Iterator[Spans]:
    """What the shared stack tells a trace collector."""
    with receiving_spans() as received:
        yield received


@pytest.fixture(scope="session")
def shared_stack(spans: Spans) -> Iterator[Stack]:
    """A stack with the settings a user finds, and a trace collector."""
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with running_stack(**tracing) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """The shared stack, recovered from whatever the test before did to it."""
    shared_stack.wait_until_healthy()
    return shared_stack


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx2.Client]:
    """A REST client of the shared stack."""
    with stack.client() as client:
        yield client


@pytest.fixture(scope="session")
def guarded_stack() -> Iterator[Stack]:
    """A stack with auth switched on."""
    with running_stack(TMWS_AUTH_ENABLED="true") as stack:
        yield stack
