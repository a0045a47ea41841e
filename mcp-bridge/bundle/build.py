"""Packs the bridge as an MCP bundle (manifest 0.4) that Claude Desktop installs with a double click.

    python mcp-bridge/bundle/build.py dist/tmws.mcpb

The same sources give the same bytes. It is not signed: signed bundles failed to install.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"FASTMCP_ENV_FILE": os.devnull, "FASTMCP_LOG_ENABLED": "false"}

import tmws_shared.settings
from tmws_mcp_bridge.catalogue import tools_of
from tmws_mcp_bridge.client import Gateway, Target
from tmws_mcp_bridge.profile import Profile

HERE = Path(__file__).resolve().parent
# Whatever these import is packed.
ROOTS = ("tmws_mcp_bridge.__main__", "tmws_mcp_bridge.server", "tmws_mcp_bridge.stdio")
PACKAGES = ("tmws_contracts", "tmws_mcp_bridge", "tmws_shared")
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644
_UNIX = 3


def main(target: Path) -> int:
    """Write the bundle."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, content in sorted(contents().items()):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _FILE_MODE << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, content)
    sys.stdout.write(f"{target}, {target.stat().st_size >> 10} KiB\n")
    return 0


def contents() -> dict[str, bytes]:
    """Return the files of the bundle by their names."""
    return {
        "manifest.json": _json(manifest()),
        "pyproject.toml": project().encode(),
        "server.py": (HERE / "server.py").read_bytes(),
        **dict(_modules()),
    }


def manifest() -> dict[str, Any]:
    """Return the manifest with our version and the tools that most users get."""
    document = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    tools = tools_of(Gateway(lambda: Target("")), Profile.CORE)
    listed = [{"name": tool.name, "description": (tool.description or "").partition("\n")[0]} for tool in tools]
    return {**document, "version": _own()["version"], "tools": listed}


def project() -> str:
    """Return the project that uv installs: the bridge, and of our other packages what it imports."""
    own = _own()
    needs = [need for need in own["dependencies"] if not need.startswith("tmws-")]
    build = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    lines = [
        "[project]",
        *(f"{name} = {json.dumps(own[name])}" for name in ("name", "version", "requires-python")),
        f"dependencies = {json.dumps(needs)}",
        "[build-system]",
        *(f"{name} = {json.dumps(value)}" for name, value in build.items()),
        "[tool.uv.build-backend]",
        'module-root = ""',
        f"module-name = {json.dumps(PACKAGES)}",
    ]
    return "\n".join(lines) + "\n"


def _own() -> dict[str, Any]:
    return tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _modules() -> Iterator[tuple[str, bytes]]:
    """Yield the files of those of our modules that the bridge imports, and what they read beside them."""
    for root in ROOTS:
        importlib.import_module(root)
    names = Path(tmws_shared.settings.__file__).with_name("settings_names.txt")
    yield f"tmws_shared/{names.name}", names.read_bytes()
    for name, module in sys.modules.items():
        if name.partition(".")[0] in PACKAGES and module.__file__:
            file = Path(module.__file__)
            folder = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
            yield "/".join([*folder, file.name]), file.read_bytes()


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist/tmws.mcpb")))
