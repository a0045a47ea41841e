"""An example of the body of each call that has one, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from tmws_gateway.upstreams import PREFIX

_ID = "0199c0de-0000-7000-8000-000000000001"
_OTHER = "0199c0de-0000-7000-8000-000000000002"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_WORKFLOW: Final = {
    "name": "Greeting",
    "workflow_type": "sequential",
    "config": {
        "inputs": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "steps": [
            {"id": "wait", "uses": "delay", "with": {"duration": "500ms"}},
            {"id": "greet", "uses": "transform", "with": {"text": "Hello ${{ inputs.name }}"}},
        ],
        "output": "${{ steps.greet.output.text }}",
    },
}
_BY_CALL: Final[dict[str, Any]] = {
    "POST /tasks": {
        "title": "Write the release notes",
        "priority": "high",
        "assigned_persona": "muses",
        "labels": ["release"],
        "due_at": "2027-01-31T12:00:00Z",
    },
    "PUT /tasks/{id}": {"priority": "urgent", "progress": 40},
    "PATCH /tasks/{id}": {"status": "in_progress"},
    "POST /tasks/batch": {
        "atomic": True,
        "operations": [
            {"op": "create", "ref": "draft", "title": "Draft"},
            {"op": "create", "ref": "review", "title": "Review", "depends_on": ["#draft"]},
        ],
    },
    "POST /tasks/claim": {"agent_id": "writer-1", "personas": ["muses"], "lease_seconds": 300, "wait_seconds": 20},
    "POST /tasks/{id}/heartbeat": {"claim_token": 7, "lease_seconds": 300},
    "POST /tasks/{id}/release": {"claim_token": 7, "note": "Needs somebody who knows French."},
    "POST /tasks/{id}/progress": {"claim_token": 7, "progress": 60, "note": "Two of three parts are done."},
    "POST /tasks/{id}/input": {"claim_token": 7, "question": "Which version is it for?"},
    "POST /tasks/{id}/answer": {"answer": "2.4"},
    "POST /tasks/{id}/complete": {"claim_token": 7, "result": {"text": "Faster search, fewer clicks."}},
    "POST /tasks/{id}/fail": {"claim_token": 7, "error": "The repository is not there."},
    "POST /tasks/{id}/comments": {"body": "Looks good; please mention the new search."},
    "POST /workflows": _WORKFLOW,
    "POST /workflows/validate": _WORKFLOW,
    "PUT /workflows/{id}": {"name": "Warm greeting"},
    "POST /workflows/{id}/execute": {"parameters": {"name": "Ada"}},
    "POST /workflows/{id}/execute/batch": {"items": [{"parameters": {"name": "Ada"}}, {"parameters": {"name": "Bo"}}]},
    "POST /workflows/{id}/schedules": {
        "cron": "0 9 * * 1-5",
        "timezone": "Europe/Berlin",
        "parameters": {"name": "Ada"},
        "overlap": "skip",
    },
    "PATCH /workflows/{id}/schedules/{schedule_id}": {"is_paused": True},
    "POST /executions/{id}/signals": {"name": "go", "payload": {"by": "Ada"}},
    "POST /executions/{id}/retry": {"from_step": "greet"},
    "POST /approvals/{id}/approve": {"digest": _DIGEST, "comment": "Ship it."},
    "POST /approvals/{id}/reject": {"digest": _DIGEST, "comment": "Not on a Friday."},
    "POST /memory/store": {
        "content": "The customer prefers invoices by post.",
        "importance": 0.8,
        "persona_id": "athena",
        "tags": ["customer", "billing"],
    },
    "POST /memory/store/batch": {"items": [{"content": "Deploys go out on Tuesdays."}]},
    "POST /memory/import": '{"content": "Deploys go out on Tuesdays."}\n',
    "POST /memory/search": {
        "query": "how does the customer want invoices",
        "limit": 5,
        "filters": {"tags": ["billing"]},
    },
    "PATCH /memory/{id}": {"importance": 0.9},
    "POST /memory/{id}/share": {"persona_id": "hera", "ttl_seconds": 86_400},
    "POST /memory/consolidate": {"memory_ids": [_ID, _OTHER], "keep": _ID, "dry_run": True},
    "POST /personas": {
        "id": "scribe",
        "name": "Scribe",
        "description": "Writes what others decide",
        "capabilities": ["writing"],
        "instructions": "Write short sentences.",
    },
    "POST /personas/match": {"text": "find out why the search is slow", "capabilities": ["performance"], "limit": 3},
    "PUT /personas/{id}": {"capabilities": ["writing", "editing"]},
    "POST /auth/token": {"scopes": ["task:read"], "expires_in": 900},
    "POST /auth/revoke": {"token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"},
    "POST /keys": {"name": "build agent", "scopes": ["task:read", "task:write"], "namespace": "default"},
    "POST /keys/{id}/rotate": {"grace_seconds": 3600},
}
EXAMPLES: Final = {call.replace(" ", f" {PREFIX}", 1): body for call, body in _BY_CALL.items()}
