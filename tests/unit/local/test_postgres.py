"""What the embedded PostgreSQL is told."""

import pytest

from tmws_local.postgres import shared_buffers_mb

GB = 2**30


@pytest.mark.parametrize(
    ("memory_bytes", "shared_mb"), [(1 * GB, 128), (4 * GB, 256), (8 * GB, 512), (24 * GB, 1024), (256 * GB, 1024)]
)
def test_shared_buffers_grow_with_the_machine_within_limits(memory_bytes: int, shared_mb: int) -> None:
    assert shared_buffers_mb(memory_bytes) == shared_mb
