"""Render the Kubernetes overlays and check them, without a cluster.

    ./taskw k8s                       both overlays
    ./taskw k8s -- prod --print       the manifests of one, with secrets made up for the occasion

Each object is checked against the schemas of the oldest and the newest Kubernetes that TMWS is meant for
(from the package kubernetes-validate, nothing is fetched), and what it refers to must be there.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from kubernetes_validate import ValidationError, validate

VERSIONS = ("1.31", "1.37")
DEPLOY = Path(__file__).parents[1]
OVERLAYS = ("dev", "prod")
Object: TypeAlias = dict[str, Any]


def main() -> int:
    """Check the overlays that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overlays", nargs="*", default=OVERLAYS, metavar="OVERLAY", help=" or ".join(OVERLAYS))
    parser.add_argument("--print", action="store_true", help="print the manifests")
    arguments = parser.parse_args()
    problems = 0
    for overlay in arguments.overlays:
        manifests = render(overlay)
        if arguments.print:
            sys.stdout.write(manifests)
        objects = [item for item in yaml.safe_load_all(manifests) if item]
        found = [*schema_problems(objects), *reference_problems(objects)]
        problems += len(found)
        sys.stderr.writelines(f"{overlay}: {problem}\n" for problem in found)
        sys.stderr.write(f"{overlay}: {len(objects)} objects, {len(found)} problems\n")
    return 1 if problems else 0


def render(overlay: str) -> str:
    """Return the manifests of an overlay, as kustomize makes them from a copy with secrets of its own."""
    if not (DEPLOY / "k8s/overlays" / overlay / "kustomization.yaml").is_file():
        sys.exit(f"there is no overlay {overlay}; there are {', '.join(OVERLAYS)}")
    command = _kustomize()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "deploy"
        for part in ("k8s", "postgres"):
            shutil.copytree(DEPLOY / part, copy / part, ignore=shutil.ignore_patterns("secrets.env"))
        folder = copy / "k8s/overlays" / overlay
        _run("sh", str(DEPLOY / "docker/secrets.sh"), str(folder / "secrets.env"))
        return _run(*command, str(folder))


def _kustomize() -> tuple[str, ...]:
    if shutil.which("kubectl"):
        return ("kubectl", "kustomize")
    if shutil.which("kustomize"):
        return ("kustomize", "build")
    sys.exit("neither kubectl nor kustomize is on the PATH; install one of them")


def _run(*command: str) -> str:
    # S603: the arguments are our own files.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])}: {done.stderr.strip()}")
    return done.stdout


def schema_problems(objects: list[Object]) -> Iterator[str]:
    """Yield a line for each object that a version of Kubernetes would refuse."""
    for item in objects:
        for version in VERSIONS:
            try:
                validate(item, version, strict=True)
            except ValidationError as error:
                path = "/".join(str(part) for part in error.path)
                yield f"{_title(item)}: {path}: {error.message} (Kubernetes {version})"


def reference_problems(objects: list[Object]) -> Iterator[str]:
    """Yield a line for each name that an object uses and no object has."""
    there = {_title(item) for item in objects}
    for item in objects:
        for used in _used(item):
            if used not in there:
                yield f"{_title(item)}: there is no {used}"
    for item in objects:
        if item["kind"] in {"Service", "PodDisruptionBudget"} and not any(_selects(item, other) for other in objects):
            yield f"{_title(item)}: selects no pod"
    yield from _missing_keys(objects)


def _title(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def _used(item: Object) -> Iterator[str]:
    if item["kind"] == "HorizontalPodAutoscaler":
        target = item["spec"]["scaleTargetRef"]
        yield f"{target['kind']} {target['name']}"
    if item["kind"] == "Ingress":
        for rule in item["spec"]["rules"]:
            yield from (f"Service {path['backend']['service']['name']}" for path in rule["http"]["paths"])
    pod = item["spec"]["template"]["spec"] if "template" in item.get("spec", {}) else None
    if pod is None:
        return
    if "serviceAccountName" in pod:
        yield f"ServiceAccount {pod['serviceAccountName']}"
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield f"ConfigMap {volume['configMap']['name']}"
    for source in (source for container in pod["containers"] for source in container.get("envFrom", [])):
        yield f"ConfigMap {source['configMapRef']['name']}"
    yield from (f"{kind} {name}" for kind, name, _, is_optional in _keys(pod) if not is_optional)


def _keys(pod: Object) -> Iterator[tuple[str, str, str, bool]]:
    """Yield kind, name, key and whether it may be missing, of each key that the variables of a pod come from."""
    for variable in (variable for container in pod["containers"] for variable in container.get("env", [])):
        source = variable.get("valueFrom", {})
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if field in source:
                yield kind, source[field]["name"], source[field]["key"], source[field].get("optional", False)


def _missing_keys(objects: list[Object]) -> Iterator[str]:
    data = {_title(item): item.get("data", {}) for item in objects if item["kind"] in {"Secret", "ConfigMap"}}
    for item in objects:
        pod = item.get("spec", {}).get("template", {}).get("spec")
        for kind, name, key, is_optional in _keys(pod) if pod else ():
            if not is_optional and key not in data.get(f"{kind} {name}", {}):
                yield f"{_title(item)}: {kind} {name} has no {key}"


def _selects(item: Object, other: Object) -> bool:
    selector = item["spec"]["selector"]
    wanted = selector.get("matchLabels", selector)
    labels = other.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
    return wanted.items() <= labels.items()


if __name__ == "__main__":
    sys.exit(main())
