"""Asking other services: with the caller's rights, a few at a time, and only for so long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Missing, Reason
from tmws_persona.errors import PartMissing
from tmws_shared.auth import Principal
from tmws_shared.fencing import excerpt
from tmws_shared.http import ServiceClient, UpstreamProblem, remaining_s
from tmws_shared.problems import Unavailable

BUDGET_S: Final = 3.0
# The answer must be there before the caller gives up.
_SHARE_OF_DEADLINE: Final = 0.8
AT_ONCE: Final = 4
PAGE: Final = 50
_REFUSALS: Final = frozenset({401, 403})
_DETAIL_CHARS: Final = 200
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Found:
    """The first page of a list; `is_cut` when there are others."""

    items: list[JsonObject]
    is_cut: bool


@dataclass(slots=True)
class Asking:
    """What one caller asks for a persona; parts that cannot be had are noted in `missing`."""

    clients: Mapping[str, ServiceClient]
    caller: Principal
    persona_id: str
    missing: list[Missing] = field(default_factory=list[Missing])
    _ends_at: float = field(default_factory=lambda: monotonic() + _SHARE_OF_DEADLINE * remaining_s(BUDGET_S))
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def get(self, service: str, path: str, **params: Any) -> JsonObject:
        """Return what a service answers to GET.

        Raises:
            PartMissing: it refuses, or does not answer in time.
        """
        async with self._gate:
            left_s = self._ends_at - monotonic()
            if left_s <= 0:
                raise PartMissing(Reason.UNAVAILABLE, f"The {service} service was not asked: there was no time left.")
            try:
                answer = await self.clients[service].call("GET", path, self.caller, params=params, timeout_s=left_s)
            except Unavailable as error:
                raise PartMissing(Reason.UNAVAILABLE, f"The {service} service is not available.") from error
            except UpstreamProblem as error:
                reason = Reason.FORBIDDEN if error.status in _REFUSALS else Reason.UNAVAILABLE
                raise PartMissing(reason, excerpt(str(error), _DETAIL_CHARS)) from error
        return answer.json()

    async def list(self, service: str, path: str, *, limit: int = PAGE, **params: Any) -> Found:
        """Return the first page of a list.

        Raises:
            PartMissing: the service refuses, or does not answer in time.
        """
        page = await self.get(service, path, limit=limit, **params)
        return Found(page["items"], page["next_cursor"] is not None)

    async def part(self, name: str, work: Coroutine[Any, Any, Part]) -> Part | None:
        """Return what `work` gives; None, and a note, when something of it is missing."""
        try:
            return await work
        except PartMissing as gap:
            self.missing.append(Missing(part=name, reason=gap.reason, detail=gap.detail))
            return None


async def together(*works: Coroutine[Any, Any, Part]) -> list[Part]:
    """Return what all of them give, in their order; when one fails the others are ended.

    Raises:
        PartMissing: the first that was raised.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
