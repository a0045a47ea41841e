"""Gateways die at every boundary of the audit log, and with Redis and Postgres at random, while API keys change.

CHAOS_S=300 CHAOS_SEED=7 ./taskw test:chaos -- -k audit
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support.audit import SECRET, migrate_gateway, verify
from support.audit_crashing import ROUNDS
from support.crashing import EXIT_CODE
from support.key_storm import storm
from support.postgres import DatabaseUrls, PostgresForTests
from tmws_gateway.audit.log import AuditLog
from tmws_shared.database import Database

SECONDS = float(os.environ.get("CHAOS_S", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
MOST_BOUNDARIES = 100


@pytest.mark.timeout(SECONDS + 120)
async def test_every_acknowledged_key_change_is_in_the_chain_once() -> None:
    with storm(SEED) as raging:
        raging.rage(SECONDS)
        await raging.check()
        assert {"gateway", "postgres", "redis"} <= set(raging.done)


async def run_into(urls: DatabaseUrls, folder: Path, boundary: int) -> tuple[list[str], bool]:
    """Let a gateway run into a boundary; return the changes it acknowledged, and whether it died."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.audit_crashing", stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1],
        env={**os.environ, "DIE_AT": str(boundary), "DATABASE": urls.for_service("gateway"), "FOLDER": str(folder)},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode in (0, EXIT_CODE)
    return output.decode().split(), process.returncode == EXIT_CODE


@pytest.mark.timeout(600)
async def test_no_boundary_leaves_a_gap_or_a_double(cluster: PostgresForTests, tmp_path: Path) -> None:
    boundaries = 0
    has_died = True
    while has_died and boundaries < MOST_BOUNDARIES:
        folder = tmp_path / str(boundaries)
        urls = await asyncio.to_thread(cluster.create_database, "gateway", migrate_gateway)
        acknowledged, has_died = await run_into(urls, folder, boundaries)
        database = await Database.connect(urls.for_service("gateway"), name="survivor")
        assert await AuditLog(database, folder, SECRET).flush()
        ids = [str(row["id"]) for row in await database.fetch("SELECT id FROM audit_records")]
        assert set(acknowledged) <= set(ids)
        assert len(ids) == len(set(ids))
        assert (await verify(database, folder)).fault is None
        await database.close()
        boundaries += 1
    assert not has_died
    assert len(ids) == 2 * ROUNDS
    assert boundaries > 10
