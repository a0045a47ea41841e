"""What the bridge is told by its environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from tmws_mcp_bridge.profile import Profile
from tmws_shared.settings import LOOPBACK, PREFIX, ConfigurationError, unknown_names

DEFAULT_URL = "http://127.0.0.1:8000"
ADMIN_KEY_FILE = "admin.key"
STATE_FILE = "state.json"


def _web_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password; give the key as TMWS_TOKEN")
    return url.rstrip("/")


class BridgeSettings(BaseModel):
    """Where the gateway is, and what to show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_web_url)] = Field(
        "", description="where the gateway is; unless given, where the embedded stack says"
    )
    token: SecretStr = Field(SecretStr(""), description="API key or JWT for the gateway; stdio only")
    token_file: Path | None = Field(None, description="file that holds the token, read again for every call")
    data_dir: Path = Field(
        Path(".tmws"), description="data directory of the embedded stack, here or in the clone; its admin.key is used"
    )
    public_url: str = Field(
        "", description="URLs that callers of the HTTP transport use, separated by commas; their hosts are allowed"
    )
    exit_with_stdin: bool = Field(False, description="end the HTTP transport when standard input closes")
    mcp_profile: Profile = Field(
        Profile.CORE, description="which tools agents are offered: core, full, or readonly, which changes nothing"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe record on stderr")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Raises:
            ConfigurationError: a value is wrong, or a `TMWS_*` name unknown.
        """
        environ = os.environ if environ is None else environ
        problems = unknown_names(environ)
        given = {name: environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        try:
            settings = cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            problems += [
                f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            ]
            raise ConfigurationError(problems) from None
        if problems:
            raise ConfigurationError(problems)
        return settings

    @property
    def public_hosts(self) -> list[str]:
        """The host names of `public_url`."""
        return [host for url in self.public_url.split(",") if (host := urlsplit(url.strip()).hostname)]

    @property
    def stack_dir(self) -> Path:
        """The data directory: a relative one lies here, or in the clone whose `.venv` runs this."""
        # A client starts the bridge in any folder.
        return self.data_dir if self.data_dir.is_dir() else Path(sys.prefix).parent / self.data_dir

    def find_url(self) -> str:
        """Return where the gateway is now: as told, or as the embedded stack wrote down, or the default."""
        if self.url:
            return self.url
        try:
            return _web_url(json.loads((self.stack_dir / STATE_FILE).read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return DEFAULT_URL

    def find_token(self) -> str:
        """Return the credential for the gateway, or an empty string.

        Raises:
            OSError: the file of the token cannot be read.
        """
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip()
        if self.token.get_secret_value():
            return self.token.get_secret_value().strip()
        admin_key = self.stack_dir / ADMIN_KEY_FILE
        # The embedded stack's key is good for every scope: it is shown to a gateway on this machine only.
        if (urlsplit(self.find_url()).hostname or "") not in LOOPBACK or not admin_key.is_file():
            return ""
        return admin_key.read_text(encoding="utf-8").strip()
