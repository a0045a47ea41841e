"""What compose.yaml and deploy/k8s say about each process, in one form, so that a test can compare them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy/k8s"
STORES = frozenset({"postgres", "redis"})
Yaml: TypeAlias = dict[str, Any]
Edge: TypeAlias = tuple[str, str]

_SETTING = re.compile(r"\bTMWS_[A-Z_]+\b")
_UPSTREAM = re.compile(r"TMWS_([A-Z_]+)_URL")
_ROLE = re.compile(r"postgresql://tmws_([a-z]+):")
_SCRIPT_NAMES = re.compile(r"^for name in ([A-Z_ \\\n]+); do$", re.MULTILINE)
_NAME = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Part:
    """One process: its command after `python -m`, its image, and its settings by name."""

    name: str
    command: tuple[str, ...]
    image: str
    port: int
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def role(self) -> str | None:
        """The service whose database role it logs in with."""
        found = _ROLE.match(self.settings.get("TMWS_DATABASE_URL", ""))
        return found.group(1) if found else None

    @property
    def upstreams(self) -> dict[str, str]:
        """The URLs of the services it calls, by their names."""
        found = ((_UPSTREAM.fullmatch(name), url) for name, url in self.settings.items())
        urls = {match.group(1).lower().replace("_", "-"): url for match, url in found if match}
        return {name: url for name, url in urls.items() if name not in {"database", "redis", "public"}}


@cache
def compose_file() -> Yaml:
    """Return compose.yaml, its variables as they are written."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@cache
def compose_parts() -> dict[str, Part]:
    """Return our own processes of compose.yaml."""
    services: Yaml = compose_file()["services"]
    return {name: _compose_part(name, service) for name, service in services.items() if name not in STORES}


def _compose_part(name: str, service: Yaml) -> Part:
    image = service["image"].removeprefix("${IMAGE_PREFIX:-}").removesuffix(":${IMAGE_TAG:-latest}")
    settings = {key: str(value) for key, value in service["environment"].items()}
    return Part(name, tuple(service["command"]), image, _port(settings), settings)


def _port(settings: dict[str, str]) -> int:
    return int(settings.get("TMWS_API_PORT") or settings["TMWS_LISTEN"].rpartition(":")[2])


@cache
def documents(folder: Path) -> list[Yaml]:
    """Return the Kubernetes objects and patches of a folder."""
    texts = (path.read_text() for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml")
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def of_kind(folder: Path, kind: str) -> dict[str, Yaml]:
    """Return the objects of one kind, by name."""
    return {item["metadata"]["name"]: item for item in documents(folder) if item["kind"] == kind}


@cache
def k8s_parts() -> dict[str, Part]:
    """Return the processes of deploy/k8s/base with the settings of the overlay for production."""
    deployments = of_kind(K8S / "base", "Deployment")
    return {name: _k8s_part(name, item) for name, item in deployments.items() if name != "all"}


def _k8s_part(name: str, deployment: Yaml) -> Part:
    container = main_container(deployment)
    own = {item["name"]: str(item.get("value", "")) for item in container["env"]} if "env" in container else {}
    shared = {} if deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "bridge" else _shared_settings()
    port = container["ports"][0]["containerPort"]
    return Part(name, tuple(container["args"]), container["image"], port, shared | own)


def main_container(deployment: Yaml) -> Yaml:
    """Return the one container of a Deployment."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def _shared_settings() -> dict[str, str]:
    patch = yaml.safe_load((K8S / "base/shared-settings.yaml").read_text())
    given = {item["name"]: str(item.get("value", "")) for item in main_container(patch)["env"]}
    return env_file(K8S / "base/settings.env") | env_file(K8S / "overlays/prod/settings.env") | given


def env_file(path: Path) -> dict[str, str]:
    """Return the NAME=value lines of a file."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def secret_names() -> frozenset[str]:
    """Return the names of the secrets that deploy/docker/secrets.sh makes."""
    found = _SCRIPT_NAMES.search((ROOT / "deploy/docker/secrets.sh").read_text())
    return frozenset(found.group(1).replace("\\", " ").split() if found else ())


def setting_names(path: Path) -> set[str]:
    """Return every TMWS_* name in a file."""
    return set(_SETTING.findall(path.read_text()))


def allowed_edges(direction: str, port: int) -> set[Edge]:
    """Return (caller, called) of the network policies for `Ingress` or `Egress` that name pods and this port."""
    policies = of_kind(K8S / "components/network-policies", "NetworkPolicy").values()
    return {edge for policy in policies for edge in _edges(policy["spec"], direction, port)}


def _edges(spec: Yaml, direction: str, port: int) -> Iterator[Edge]:
    peers_key = "from" if direction == "Ingress" else "to"
    for rule in spec.get(direction.lower(), []):
        if {"port": port} not in rule["ports"]:
            continue
        for peer in rule.get(peers_key, []):
            for own in _names(spec["podSelector"]):
                for other in _names(peer["podSelector"]):
                    yield (other, own) if direction == "Ingress" else (own, other)


def _names(selector: Yaml) -> list[str]:
    if "matchLabels" in selector:
        return [selector["matchLabels"][_NAME]]
    (expression,) = selector["matchExpressions"]
    return expression["values"]
