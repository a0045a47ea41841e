"""The API key that a client gets for itself when auth is on: no more rights than its tools need."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Any, cast

import httpx2

from tmws_local.errors import StackError
from tmws_local.paths import Paths
from tmws_local.secrets import write_private
from tmws_local.state import holder, read_state

_READING = ("memory:read", "task:read", "workflow:read", "persona:read")
_WORKING = (*_READING, "memory:write", "task:write", "workflow:run")
SCOPES_OF = {
    "readonly": _READING,
    "core": _WORKING,
    "full": (*_WORKING, "memory:delete", "memory:share", "workflow:write"),
}
APPROVING = "workflow:approve"
AUDITING = "audit:read"
ANY_PERSONA = "any"
_IMPERSONATING = "persona:impersonate"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Rights:
    """What a key may do, and the persona that it speaks for: one of them, `any`, or none."""

    profile: str
    may_approve: bool = False
    may_audit: bool = False
    persona: str | None = None

    @property
    def scopes(self) -> list[str]:
        """The scopes, in their order."""
        asked = {APPROVING: self.may_approve, AUDITING: self.may_audit, _IMPERSONATING: self.persona == ANY_PERSONA}
        return sorted([*SCOPES_OF[self.profile], *(scope for scope, is_asked in asked.items() if is_asked)])

    @property
    def wanted(self) -> dict[str, Any]:
        """What a key is asked for with."""
        return {"scopes": self.scopes, "persona": None if self.persona == ANY_PERSONA else self.persona}


class ClientKey:
    """The key of one client, in a file of the data directory that only its owner reads."""

    def __init__(self, paths: Paths, name: str) -> None:
        self._paths = paths
        self._name = name
        self.path = paths.data / "clients" / f"{name}.key"

    @property
    def is_needed(self) -> bool:
        """Whether the stack asks its callers who they are: it has made its first key."""
        return self._paths.admin_key.is_file()

    def make(self, rights: Rights) -> None:
        """Have the running stack make the key, in place of the one before; what is there is kept if it will do.

        Raises:
            StackError: TMWS does not run, or refuses.
        """
        if self.path.is_file() and self._has(rights):
            return
        self.revoke()
        issued = self._issue(self._name, rights) or self._issue(f"{self._name}-{token_hex(3)}", rights)
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(self.path, issued["key"])

    def revoke(self) -> None:
        """Make the key worthless and remove its file.

        Raises:
            StackError: TMWS does not run, or refuses; the file stays.
        """
        if self._id():
            self._ask("DELETE", f"/{self._id()}")
        self.path.unlink(missing_ok=True)

    def _issue(self, name: str, rights: Rights) -> dict[str, Any]:
        """Return a new key; nothing when a key has that name already, whose file somebody has removed."""
        return self._ask("POST", "", json={"name": name, **rights.wanted}, none_when=409)

    def _id(self) -> str:
        """Return the public part of the key in the file: `tmws_<id>_<secret>_<checksum>`."""
        parts = self.path.read_text(encoding="ascii").split("_") if self.path.is_file() else []
        return parts[1] if len(parts) == 4 else ""

    def _has(self, rights: Rights) -> bool:
        """Whether the key has just these rights, and was not revoked."""
        found = self._ask("GET", f"/{self._id()}") if self._id() else {}
        now = {"scopes": sorted(cast("list[str]", found.get("scopes", []))), "persona": found.get("persona")}
        return bool(found) and not found["revoked_at"] and now == rights.wanted

    def _ask(self, method: str, path: str, *, json: Any = None, none_when: int = 404) -> dict[str, Any]:
        if holder(self._paths) is None:
            raise StackError(
                "Auth is on, and TMWS does not run to make or revoke a key: start it with ./taskw up first"
            )
        url, _ = read_state(self._paths)
        admin = self._paths.admin_key.read_text(encoding="ascii").strip()
        try:
            answer = httpx2.request(
                method, f"{url}/api/v1/keys{path}", json=json, headers={"authorization": f"Bearer {admin}"},
                timeout=_TIMEOUT_S, trust_env=False,
            )  # fmt: skip
        except httpx2.TransportError as error:
            raise StackError(f"TMWS at {url} does not answer: {type(error).__name__}") from None
        if answer.status_code == none_when:
            return {}
        if not answer.is_success:
            raise StackError(f"TMWS refuses to {method} the key of {self._name}: status {answer.status_code}")
        return answer.json() if answer.content else {}
