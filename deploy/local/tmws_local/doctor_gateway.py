"""What a caller of the gateway would meet: another program there, a key that does not count, a clock that is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from uuid import UUID

import httpx2

from tmws_local.errors import StackError
from tmws_local.paths import Paths

# Access tokens and internal ones may be this far off.
MAX_SKEW_S = 30.0
_TIMEOUT_S = 5.0


class GatewayCheck:
    """Asks the gateway at `url` as a client would."""

    def __init__(self, url: str, paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
        self._url = url
        self._paths = paths
        self._environ = environ

    def answers(self) -> str:
        """Tell whether TMWS answers.

        Raises:
            StackError: nothing does, or another program.
        """
        answer = self._get("/livez")
        if answer.status_code != 200 or "x-request-id" not in answer.headers:
            raise StackError(f"what answers at {self._url} is not TMWS: set TMWS_URL to what ./taskw up prints")
        return f"the gateway answers at {self._url}"

    def clock(self) -> str:
        """Tell whether our clock and the gateway's agree.

        Raises:
            StackError: they do not.
        """
        told = _time_of(self._get("/livez"))
        if told is None:
            return "the gateway does not tell the time"
        skew_s = (told - datetime.now(UTC)).total_seconds()
        if abs(skew_s) > MAX_SKEW_S:
            raise StackError(
                f"this clock and that of {self._url} are {abs(skew_s):.0f} s apart: set both by NTP, or tokens fail"
            )
        return "the clock agrees with the gateway's"

    def credential(self) -> str:
        """Tell whether the key that a bridge here would show is good.

        Raises:
            StackError: it is not.
        """
        source, token = self._token()
        answer = self._get("/api/v1/stats", {"authorization": f"Bearer {token}"} if token else {})
        if answer.status_code != 401:
            return f"the key in {source} is good" if token else "no key is needed"
        if not token:
            raise StackError("auth is on, and no key is set: make one with ./taskw keys create, and set TMWS_TOKEN")
        raise StackError(f"the key in {source} is not valid any more: make another with ./taskw keys create")

    def _token(self) -> tuple[str, str]:
        """Return where the key comes from, and the key."""
        if given := self._environ.get("TMWS_TOKEN"):
            return "TMWS_TOKEN", given
        file = Path(self._environ.get("TMWS_TOKEN_FILE") or self._paths.admin_key)
        try:
            return str(file), file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return str(file), ""

    def _get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        try:
            return httpx2.get(self._url + path, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        except (httpx2.HTTPError, ValueError) as error:
            raise StackError(
                f"nothing answers at {self._url} ({type(error).__name__}): start it with ./taskw up"
            ) from None


def _time_of(answer: httpx2.Response) -> datetime | None:
    """When an answer was made: by its Date, which a proxy adds, else by the id that the gateway gave (UUIDv7)."""
    if "date" in answer.headers:
        return parsedate_to_datetime(answer.headers["date"])
    try:
        request_id = UUID(answer.headers.get("x-request-id", ""))
    except ValueError:
        return None
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC) if request_id.version == 7 else None
