"""The client between our processes is tried on the loop of the processes too."""

import pytest

from support.loops import ASYNCIO, BOTH, LoopFactories


def pytest_asyncio_loop_factories(item: pytest.Item) -> LoopFactories:
    return BOTH if item.path.name == "test_upstream.py" else ASYNCIO
