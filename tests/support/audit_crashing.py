"""A gateway's audit log that dies at its n-th boundary, right before or right after something becomes durable.

Run as a program with `DIE_AT`, `DATABASE` and `FOLDER`: changes rights twice, prints the id of each change once it is
acknowledged, and writes the audit log after each.
"""

import asyncio
import os
from pathlib import Path

from support.audit import SECRET, exchange, waiting_event
from support.crashing import Boundaries, watch
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.repository.audit import add_events
from tmws_shared.database import Database

ROUNDS = 2


async def main() -> None:
    """Do what a gateway does."""
    database = await Database.connect(os.environ["DATABASE"], name="doomed")
    log = AuditLog(database, Path(os.environ["FOLDER"]), SECRET)
    for _ in range(ROUNDS):
        event = waiting_event()
        async with database.transaction() as connection:
            await add_events(connection, [event])
        os.write(1, f"{event['id']}\n".encode())
        log.record(exchange())
        await log.flush()
    await database.close()


if __name__ == "__main__":
    watch(Boundaries(int(os.environ["DIE_AT"])))
    asyncio.run(main())
