"""What `kubectl kustomize` makes of docker/kubernetes, as far as our files need it: resources, components, config maps
made of files, strategic merge patches. Names of config maps stay as they are written, without a hash."""

from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
KEYS = {
    "containers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""Lists that are merged by the named field of their items; others are replaced. Those of a pod, not of a policy."""
KNOWN = {"apiVersion", "kind", "resources", "components", "configMapGenerator", "patches"}


def rendered(folder: Path) -> list[Object]:
    """All objects of a kustomization, in its order."""
    objects, spec = [], _read(folder)
    for name in spec.get("resources", []):
        path = folder / name
        objects += rendered(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    objects += [_config_map(folder, each) for each in spec.get("configMapGenerator", [])]
    for component in spec.get("components", []):
        apply(objects, folder / component)
    return _patched(objects, folder, spec)


def apply(objects: list[Object], component: Path) -> None:
    """Patch `objects` as the component says."""
    spec = _read(component)
    assert spec["kind"] == "Component"
    objects[:] = _patched(objects, component, spec)


def the(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _read(folder: Path) -> Object:
    spec = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(spec) <= KNOWN, f"{folder}: this renderer does not know {set(spec) - KNOWN}"
    return spec


def _config_map(folder: Path, spec: Object) -> Object:
    data = {Path(file).name: (folder / file).read_text() for file in spec["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": spec["name"]}, "data": data}


def _patched(objects: list[Object], folder: Path, spec: Object) -> list[Object]:
    for each in spec.get("patches", []):
        assert set(each) == {"path"}, each
        for patch in yaml.safe_load_all((folder / each["path"]).read_text()):
            target = the(objects, patch["kind"], patch["metadata"]["name"])
            objects[objects.index(target)] = _merged(target, patch)
    return objects


def _merged(old: Any, new: Any, field: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {name: _merged(old[name], value, name) if name in old else value for name, value in new.items()}
    key = KEYS.get(field)
    if isinstance(old, list) and isinstance(new, list) and key and all(key in item for item in [*old, *new]):
        news, olds = {item[key]: item for item in new}, {item[key] for item in old}
        kept = [_merged(item, news[item[key]]) if item[key] in news else item for item in old]
        return [item for name, item in news.items() if name not in olds] + kept
    return new
