"""The client between our processes is tried on the loop of the processes too."""

import pytest

from support.loops import ASYNCIO, BOTH, LoopFactories


def pytest_asyncio_loop_factories(item: pytest.Item) -> LoopFactories:
    return BOTH if item.path.name in ("test_upstream.py", "test_upstream_replicas.py") else ASYNCIO
