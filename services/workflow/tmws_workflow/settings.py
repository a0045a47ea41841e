"""Settings of the workflow service and its workers."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from tmws_shared.settings import DatabaseSettings
from tmws_workflow.egress.allowed import AllowList
from tmws_workflow.egress.secrets import Secrets

BELL = "workflow"  # the queue whose ring wakes the workers


class WorkflowSettings(DatabaseSettings):
    """What the workflow service is told by its environment."""

    task_url: str = Field("http://127.0.0.1:8101", description="where the task service listens")
    memory_url: str = Field("http://127.0.0.1:8104", description="where the memory service listens")
    workflow_in_flight: int = Field(64, ge=1, le=1024, description="steps one worker runs at the same time")
    workflow_http_allow: str = Field(
        "",
        description="what `http` steps may reach beside the public Internet on ports 80 and 443, separated by commas: "
        "`build.internal:8080`, `10.1.0.0/16:443`, `*:8443`",
    )
    workflow_http_timeout_seconds: int = Field(
        60, ge=1, le=3600, description="how long a request of an `http` step may take"
    )
    workflow_secrets: SecretStr = Field(
        SecretStr(""),
        description="secrets that `http` steps may send, as JSON: "
        '`{"NAME": {"value": "…", "hosts": ["api.example.com"], "namespaces": ["default"]}}`',
    )

    @property
    def http_allowed(self) -> AllowList:
        """What `http` steps may reach."""
        return AllowList.parse(self.workflow_http_allow)

    @property
    def secrets(self) -> Secrets:
        """What `http` steps may send."""
        return Secrets.parse(self.workflow_secrets.get_secret_value())

    @field_validator("workflow_http_allow")
    @classmethod
    def _check_allowed(cls, text: str) -> str:
        AllowList.parse(text)
        return text

    @field_validator("workflow_secrets")
    @classmethod
    def _check_secrets(cls, text: SecretStr) -> SecretStr:
        Secrets.parse(text.get_secret_value())
        return text
