"""Prompts: an agent becomes one of the namespace's personas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from fastmcp.prompts import Message, Prompt, PromptResult
from fastmcp.prompts.base import PromptArgument
from fastmcp.server.providers import Provider
from fastmcp.utilities.components import FastMCPComponent
from fastmcp.utilities.versions import VersionSpec
from pydantic import PrivateAttr

from tmws_contracts.common import MAX_PAGE, is_slug
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import CallFailed, of_protocol
from tmws_mcp_bridge.waking import PERSONAS, WakeUps

# Clients ask for the prompts when they start, and must not wait for a gateway that does not answer.
LIST_TIMEOUT_S = 3.0
# Those that every namespace begins with, shown while the gateway cannot be asked.
TRINITAS = {
    "athena": "Become Athena: plans how the team works, and runs its workflows.",
    "artemis": "Become Artemis: makes work and software faster.",
    "hestia": "Become Hestia: guards the system and reads the audit log.",
    "eris": "Become Eris: coordinates the team's tasks.",
    "hera": "Become Hera: plans with workflows.",
    "muses": "Become Muses: keep the team's documents.",
}
_TASK = PromptArgument(name="task", description="what to begin with", required=False)


class PersonaPrompt(Prompt):
    """Tells an agent who it is, what it remembers, and what is on its board."""

    _gateway: Gateway = PrivateAttr()

    @classmethod
    def of(cls, gateway: Gateway, persona_id: str, description: str) -> PersonaPrompt:
        """Return the prompt of a persona."""
        prompt = cls(name=persona_id, description=description, arguments=[_TASK])
        prompt._gateway = gateway
        return prompt

    async def render(self, arguments: dict[str, Any] | None = None) -> PromptResult:
        """Return the persona's wake-up pack as the first message, and the task, if one is given, as the second.

        Raises:
            FastMCPError: the gateway refuses, or does not answer; the message says what to do.
        """
        try:
            pack = await WakeUps(self._gateway).wake_up(self.name)
        except CallFailed as failure:
            raise of_protocol(failure) from None
        task = str((arguments or {}).get("task") or "")
        messages = [Message(pack["text"]), *([Message(task)] if task else [])]
        return PromptResult(messages, description=self.description)


class PersonaPrompts(Provider):
    """A prompt for each persona of the caller's namespace."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def get_tasks(self) -> Sequence[FastMCPComponent]:
        """Return nothing: fastmcp asks when it starts, and would have the personas listed for it."""
        return []

    async def _list_prompts(self) -> Sequence[Prompt]:
        return [self._prompt(name) for name in await self._names() or TRINITAS]

    async def _get_prompt(self, name: str, version: VersionSpec | None = None) -> Prompt | None:
        return self._prompt(name) if version is None and is_slug(name) else None

    def _prompt(self, name: str) -> PersonaPrompt:
        # A persona's own description is stored text, which no catalogue shows.
        return PersonaPrompt.of(self._gateway, name, TRINITAS.get(name, f"Become {name}."))

    async def _names(self) -> list[str]:
        """Return the personas' ids; none when the gateway cannot be asked."""
        with anyio.move_on_after(LIST_TIMEOUT_S):
            try:
                page = await self._gateway.send(Call("GET", PERSONAS, query={"limit": MAX_PAGE}))
            except CallFailed:
                return []
            return [persona["id"] for persona in page["items"]]
        return []
