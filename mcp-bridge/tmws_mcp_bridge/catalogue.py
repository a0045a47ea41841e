"""Which tools an agent is offered: every description costs every session tokens."""

from __future__ import annotations

from uuid import uuid4

from fastmcp.tools import Tool

from tmws_mcp_bridge.client import Gateway
from tmws_mcp_bridge.profile import Profile
from tmws_mcp_bridge.tools.approval import ApprovalTools
from tmws_mcp_bridge.tools.building import Offer
from tmws_mcp_bridge.tools.claim import ClaimTools
from tmws_mcp_bridge.tools.memory import MemoryTools
from tmws_mcp_bridge.tools.persona import PersonaTools
from tmws_mcp_bridge.tools.task import TaskTools
from tmws_mcp_bridge.tools.workflow import WorkflowTools

_CORE = frozenset(
    {
        "semantic_search", "store_memory", "recall_memories", "manage_task", "claim_task", "report_task",
        "execute_workflow", "workflow_status", "list_workflows", "match_persona", "approve",
    }
)  # fmt: skip


def tools_of(gateway: Gateway, profile: Profile) -> list[Tool]:
    """Return the tools of a profile."""
    agent = f"mcp-{uuid4()}"
    groups = (
        MemoryTools(gateway),
        TaskTools(gateway, agent),
        ClaimTools(gateway, agent),
        WorkflowTools(gateway),
        ApprovalTools(gateway),
        PersonaTools(gateway),
    )
    return [offer.make() for group in groups for offer in group.tools() if _is_offered(offer, profile)]


def _is_offered(offer: Offer, profile: Profile) -> bool:
    if profile is Profile.READONLY:
        return offer.is_reading
    return profile is Profile.FULL or offer.name in _CORE
