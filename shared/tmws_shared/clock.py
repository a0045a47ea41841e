"""The time and the ids of this process."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils
import uuid_utils.compat


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): ids made later sort later."""
    return uuid_utils.compat.uuid7()


def new_id_text() -> str:
    """Return such an id as text; without the object it costs a fifth."""
    return str(uuid_utils.uuid7())
