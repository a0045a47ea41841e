"""compose.yaml, deploy/k8s and the embedded stack start the same system."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support.deployments import (
    K8S,
    ROOT,
    STORES,
    Part,
    allowed_edges,
    compose_file,
    compose_parts,
    env_file,
    k8s_parts,
    main_container,
    of_kind,
    secret_names,
    setting_names,
)
from tmws_local.stack import STACK
from tmws_shared.settings import known_names

BRIDGE = "mcp-bridge"
DOORS = {"gateway", BRIDGE}
EDGES = {(process.name, upstream) for process in STACK for upstream in process.upstreams}
SECRETS = secret_names()
DEPLOYMENT_FILES = [
    ROOT / "compose.yaml",
    ROOT / "deploy/docker/Dockerfile",
    ROOT / "deploy/docker/alive.py",
    ROOT / "deploy/docker/secrets.sh",
    *sorted(K8S.rglob("*.yaml")),
    *sorted(K8S.rglob("settings.env")),
]
both = pytest.mark.parametrize("parts", [compose_parts, k8s_parts], ids=["compose", "k8s"])
Parts = Callable[[], dict[str, Part]]


@both
def test_same_processes_run_everywhere(parts: Parts) -> None:
    assert set(parts()) == {process.name for process in STACK}


@both
def test_every_process_has_the_command_of_the_stack(parts: Parts) -> None:
    commands = {name: part.command for name, part in parts().items()}
    listening = {BRIDGE: ("--http", "0.0.0.0:8001")}
    assert commands == {process.name: (process.module, *listening.get(process.name, ())) for process in STACK}


@both
def test_every_process_logs_in_with_the_role_of_its_schema(parts: Parts) -> None:
    roles = {name: part.role for name, part in parts().items()}
    assert roles == {process.name: process.schema for process in STACK}


@both
def test_every_process_knows_the_services_it_calls_and_no_other(parts: Parts) -> None:
    upstreams = {name: set(part.upstreams) for name, part in parts().items()}
    assert upstreams == {process.name: set(process.upstreams) for process in STACK}


@both
def test_every_call_goes_to_the_port_where_the_called_one_listens(parts: Parts) -> None:
    urls = [(name, url) for part in parts().values() for name, url in part.upstreams.items()]
    assert urls == [(name, f"http://{name}:{parts()[name].port}") for name, _ in urls]


@both
def test_bridge_reaches_the_gateway_where_it_listens(parts: Parts) -> None:
    assert parts()[BRIDGE].settings["TMWS_URL"] == f"http://gateway:{parts()['gateway'].port}"


def test_ports_and_images_are_the_same_in_compose_and_kubernetes() -> None:
    in_compose = {name: (part.port, part.image, part.command) for name, part in compose_parts().items()}
    assert in_compose == {name: (part.port, part.image, part.command) for name, part in k8s_parts().items()}


def test_every_process_has_in_kubernetes_the_settings_it_has_in_compose() -> None:
    in_k8s = k8s_parts()
    # The bridge's address is in its command; compose names it for the health check only.
    missing = {name: set(part.settings) - set(in_k8s[name].settings) for name, part in compose_parts().items()}
    assert {name: names for name, names in missing.items() if names} == {
        **{name: {"OTEL_EXPORTER_OTLP_ENDPOINT"} for name in in_k8s},
        BRIDGE: {"OTEL_EXPORTER_OTLP_ENDPOINT", "TMWS_LISTEN", "TMWS_LOG_LEVEL"},
    }


@pytest.mark.parametrize("path", DEPLOYMENT_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_is_used_is_known(path: Path) -> None:
    assert setting_names(path) - known_names() == set()


def test_every_listening_process_has_a_service_of_its_name_and_port_in_kubernetes() -> None:
    services = of_kind(K8S / "base", "Service")
    ports = {name: service["spec"]["ports"][0]["port"] for name, service in services.items()}
    assert ports == {name: part.port for name, part in k8s_parts().items() if not name.endswith("-worker")}


def test_services_select_the_pods_of_their_name() -> None:
    services = of_kind(K8S / "base", "Service") | of_kind(K8S / "components/datastores", "Service")
    selectors = {name: service["spec"]["selector"] for name, service in services.items()}
    assert selectors == {name: {"app.kubernetes.io/name": name} for name in services}


def test_only_the_gateway_publishes_a_port() -> None:
    services = compose_file()["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "gateway": ["${PUBLISHED_HOST:-127.0.0.1}:${PUBLISHED_PORT:-8000}:8000"],
    }


def test_only_the_doors_are_on_the_outer_network() -> None:
    services = compose_file()["services"]
    assert {name for name, service in services.items() if "edge" in service["networks"]} == DOORS
    assert {name for name, service in services.items() if "inner" not in service["networks"]} == {BRIDGE}
    assert compose_file()["networks"]["inner"] == {"internal": True}


def test_only_the_workflow_worker_has_a_way_out() -> None:
    """`http` steps need one; everything else is called by what is inside, or from outside."""
    services = compose_file()["services"]
    assert {name for name, service in services.items() if "out" in service["networks"]} == {"workflow-worker"}
    policies = of_kind(K8S / "components/network-policies", "NetworkPolicy").values()
    outgoing = [
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        for policy in policies
        for rule in policy["spec"].get("egress", [])
        if any("ipBlock" in target for target in rule.get("to", []))
    ]
    assert outgoing == ["workflow-worker"]


def test_gateway_has_a_way_to_issuers_where_it_is_asked_for() -> None:
    (policy,) = of_kind(K8S / "components/external-issuers", "NetworkPolicy").values()
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "gateway"}}
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": 443}]
    private = {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
    assert private < set(rule["to"][0]["ipBlock"]["except"])


@pytest.mark.parametrize("name", sorted(compose_file()["services"]))
def test_every_container_is_confined(name: str) -> None:
    service = compose_file()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "healthcheck", "stop_grace_period"} <= set(service)
    assert service["restart"] == "unless-stopped"
    assert "container_name" not in service


def test_compose_has_no_default_for_a_secret() -> None:
    variables = dict(
        re.findall(r"\$\{([A-Z_]*(?:PASSWORD|SECRET)[A-Z_]*)(:-[^}]*)\}", (ROOT / "compose.yaml").read_text())
    )
    assert variables == {}


def test_compose_asks_for_the_secrets_that_the_script_makes() -> None:
    asked = re.findall(r"\$\{([A-Z_]+):\?[^}]*secrets\.sh\}", (ROOT / "compose.yaml").read_text())
    assert set(asked) == SECRETS


def test_kubernetes_uses_the_secrets_that_the_script_makes() -> None:
    files = [*K8S.glob("base/*.yaml"), *K8S.glob("components/datastores/*.yaml")]
    used = [
        name for path in files for name in re.findall(r"secretKeyRef: \{name: tmws, key: ([A-Z_]+)\}", path.read_text())
    ]
    assert set(used) == SECRETS


def test_script_makes_eight_secrets() -> None:
    assert len(SECRETS) == 8


def test_examples_of_secrets_are_complete_and_empty() -> None:
    values = dict.fromkeys(sorted(SECRETS), "")
    assert env_file(K8S / "overlays/dev/secrets.env.example") == values
    assert env_file(K8S / "overlays/prod/secrets.env.example") == {
        name: value for name, value in values.items() if name != "POSTGRES_PASSWORD"
    }


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_network_policies_allow_the_calls_of_the_stack_and_no_other(direction: str) -> None:
    assert allowed_edges(direction, 8100) | allowed_edges(direction, 8001) == EDGES


def test_stores_are_the_same_images_with_the_same_configuration() -> None:
    services = compose_file()["services"]
    sets = of_kind(K8S / "components/datastores", "StatefulSet")
    in_compose = {name: (services[name]["image"], services[name]["command"]) for name in STORES}
    containers = {name: main_container(sets[name]) for name in STORES}
    # A dollar sign is written twice in compose.yaml.
    in_compose = {
        name: (image, [str(word).replace("$$", "$") for word in words]) for name, (image, words) in in_compose.items()
    }
    assert in_compose == {name: (item["image"], item["args"]) for name, item in containers.items()}


def test_every_image_is_built_from_a_package_of_the_workspace() -> None:
    services = compose_file()["services"].values()
    packages = {service["build"]["args"]["PACKAGE"] for service in services if "build" in service}
    assert packages == {part.image for part in compose_parts().values()}


def test_kustomization_pins_every_image() -> None:
    images = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["images"]
    assert {image["name"] for image in images if image["newTag"] != "latest"} == {p.image for p in k8s_parts().values()}


def test_images_are_built_with_the_uv_of_taskw() -> None:
    version = re.compile(r"^(?:ARG )?UV_VERSION=(.+)$", re.MULTILINE)
    found = [version.findall((ROOT / path).read_text()) for path in ("taskw", "deploy/docker/Dockerfile")]
    assert found[0] == found[1]
    assert len(found[0]) == 1
