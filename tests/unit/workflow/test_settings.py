"""What the operator says about `http` steps is checked when a worker starts."""

from pathlib import Path

import pytest

from tmws_shared.settings import ConfigurationError
from tmws_workflow.settings import WorkflowSettings

ENVIRONMENT = {
    "TMWS_SECRET_KEY": "the internal secret of the tests, 32 bytes or more",
    "TMWS_DATABASE_URL": "postgresql://tmws_workflow:x@localhost/tmws",
}


def test_secrets_come_from_a_file(tmp_path: Path):
    file = tmp_path / "secrets.json"
    file.write_text('{"KEY": {"value": "s3cret-value", "hosts": ["api.example.com"]}}\n')
    settings = WorkflowSettings.from_environment(ENVIRONMENT | {"TMWS_WORKFLOW_SECRETS_FILE": str(file)})
    assert settings.secrets.get("KEY", "api.example.com", "any") == "s3cret-value"
    assert "s3cret-value" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMWS_WORKFLOW_SECRETS", '{"KEY": {"value": "s3cret-value", "host": "api.example.com"}}'),
        ("TMWS_WORKFLOW_HTTP_ALLOW", "http://s3cret-value:8080/"),
        ("TMWS_WORKFLOW_HTTP_TIMEOUT_SECONDS", "0"),
    ],
)
def test_setting_that_cannot_be_used_is_named_and_not_repeated(name: str, value: str):
    with pytest.raises(ConfigurationError) as caught:
        WorkflowSettings.from_environment(ENVIRONMENT | {name: value})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [name]
    assert "s3cret-value" not in str(caught.value)
