"""The API key that a client gets for itself when auth is on: no more rights than its tools need."""

from __future__ import annotations

from collections.abc import Sequence
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
    "full": (*_WORKING, "memory:delete", "memory:share"),
}
APPROVING = "workflow:approve"
_TIMEOUT_S = 10.0


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

    def make(self, scopes: Sequence[str]) -> None:
        """Have the running stack make the key, in place of the one before; what is there is kept if it will do.

        Raises:
            StackError: TMWS does not run, or refuses.
        """
        if self.path.is_file() and self._scopes() == set(scopes):
            return
        self.revoke()
        issued = self._issue(self._name, scopes) or self._issue(f"{self._name}-{token_hex(3)}", scopes)
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

    def _issue(self, name: str, scopes: Sequence[str]) -> dict[str, Any]:
        """Return a new key; nothing when a key has that name already, whose file somebody has removed."""
        return self._ask("POST", "", json={"name": name, "scopes": sorted(scopes)}, none_when=409)

    def _id(self) -> str:
        """Return the public part of the key in the file: `tmws_<id>_<secret>_<checksum>`."""
        parts = self.path.read_text(encoding="ascii").split("_") if self.path.is_file() else []
        return parts[1] if len(parts) == 4 else ""

    def _scopes(self) -> set[str]:
        """Return what the key may do now; nothing when it is revoked or unknown."""
        found = self._ask("GET", f"/{self._id()}") if self._id() else {}
        return set() if found.get("revoked_at") else set(cast("list[str]", found.get("scopes", [])))

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
