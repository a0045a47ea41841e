"""Pages of lists."""

from __future__ import annotations

from tmws_shared.database import Database, Row
from tmws_shared.pagination import Conditions, Keyset


async def fetch_page(
    database: Database, columns: str, table: str, where: Conditions, order: Keyset, limit: int
) -> list[Row]:
    """Return up to `limit` rows of a list in its order, each with its `position`."""
    where.values.append(limit)
    sql = f"""SELECT {columns}, {order.position} AS position FROM {table} WHERE true {where.sql()}
        ORDER BY {order.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this package, values are bound
    return await database.fetch(sql, *where.values)
