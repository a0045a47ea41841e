"""Gateways, Redis and Postgres are killed while keys change; tests/chaos/test_audit.py does it for longer."""

import pytest

from support.key_storm import storm

pytestmark = pytest.mark.long


async def test_every_acknowledged_key_change_is_in_the_chain() -> None:
    with storm(seed=3) as raging:
        raging.rage(seconds=3)
        await raging.check()
        assert {"gateway", "postgres"} <= set(raging.done)
        assert len(raging.acknowledged) > 10
