"""The kinds of steps there are."""

from __future__ import annotations

from collections.abc import Mapping

from tmws_workflow.steps.base import StepKind
from tmws_workflow.steps.delay import Delay
from tmws_workflow.steps.memory_search import MemorySearch
from tmws_workflow.steps.memory_store import MemoryStore
from tmws_workflow.steps.task import Task
from tmws_workflow.steps.transform import Transform

KINDS: Mapping[str, StepKind] = {
    kind.uses: kind for kind in (Transform(), MemorySearch(), MemoryStore(), Task(), Delay())
}

__all__ = ["KINDS", "StepKind"]
