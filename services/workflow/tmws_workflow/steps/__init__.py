"""The kinds of steps there are."""

from __future__ import annotations

from collections.abc import Mapping

from tmws_workflow.steps.agent import Agent
from tmws_workflow.steps.approval import Approval
from tmws_workflow.steps.base import StepKind
from tmws_workflow.steps.delay import Delay
from tmws_workflow.steps.http import Http
from tmws_workflow.steps.map import Map
from tmws_workflow.steps.memory_search import MemorySearch
from tmws_workflow.steps.memory_store import MemoryStore
from tmws_workflow.steps.signal import Signal
from tmws_workflow.steps.task import Task
from tmws_workflow.steps.transform import Transform
from tmws_workflow.steps.workflow import Workflow

_ALL = (Transform(), MemorySearch(), MemoryStore(), Task(), Agent(), Delay(), Http(), Approval(), Signal())
_KINDS: tuple[StepKind, ...] = (
    Transform(),
    MemorySearch(),
    MemoryStore(),
    Task(),
    Delay(),
    Http(),
    Agent(),
    Approval(),
    Signal(),
    Workflow(),
    Map(),
)
KINDS: Mapping[str, StepKind] = {kind.uses: kind for kind in _KINDS}

__all__ = ["KINDS", "StepKind"]
