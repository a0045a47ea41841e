"""Controlling executions, on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tmws_contracts.common import Wire


class RetryRequest(Wire):
    """What `POST /executions/{id}/retry` takes."""

    from_step: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="run this step again with all that comes after it; without it, only what did not end well",
    )
