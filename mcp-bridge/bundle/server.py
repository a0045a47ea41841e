"""What Claude Desktop starts: the bridge, with the settings that its user filled in."""

from __future__ import annotations

import os
import sys

# Claude Desktop may pass a setting on as `${user_config.…}` when its user left it empty.
_UNSET = "${"


def _forget_unset() -> None:
    for name, value in [*os.environ.items()]:
        # The bundle has no exporter of traces.
        if (name.startswith("TMWS_") and value.startswith(_UNSET)) or name.startswith("OTEL_"):
            del os.environ[name]


if __name__ == "__main__":
    _forget_unset()
    from tmws_mcp_bridge.__main__ import main

    sys.exit(main([]))
