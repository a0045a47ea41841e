"""Plans by version: a definition never changes, so each is compiled once a process."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cachetools import LRUCache

from tmws_contracts.workflow import WorkflowType
from tmws_shared.database import Connection
from tmws_workflow.definition import Plan
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.repository.executions import definition_of
from tmws_workflow.validation import plan_workflow

KEPT_PLANS = 1_000


class Plans:
    """The plans this process has compiled."""

    def __init__(self) -> None:
        self._plans: LRUCache[tuple[UUID, int], Plan] = LRUCache(KEPT_PLANS)

    def known(self, workflow_id: UUID, version: int) -> Plan | None:
        """Return the plan of a version if it was compiled before."""
        return self._plans.get((workflow_id, version))

    async def get(self, connection: Connection, workflow_id: UUID, version: int) -> Plan:
        """Return the plan of a version.

        Raises:
            DefinitionInvalid: it was saved by a release that understood more.
        """
        plan = self._plans.get((workflow_id, version))
        if plan is None:
            kind, config = await definition_of(connection, workflow_id, version)
            plan = plan_workflow(WorkflowType(kind), config)
            self._plans[workflow_id, version] = plan
        return plan

    async def of_executions(
        self, connection: Connection, versions: Mapping[UUID, tuple[UUID, int]]
    ) -> dict[UUID, Plan]:
        """Return the plan of each execution, given which version of which workflow it runs."""
        plans: dict[UUID, Plan] = {}
        for execution_id, version in versions.items():
            try:
                plans[execution_id] = await self.get(connection, *version)
            except DefinitionInvalid:
                # Its steps fail when they are started; nothing follows from them.
                plans[execution_id] = Plan({}, {}, None)
        return plans
