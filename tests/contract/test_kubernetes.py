"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true to the launcher, the proxy and the models.

No cluster is at hand. The forwarder of the pools is run by the real server in tests/served/test_pools.py.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.launcher import cli as launcher_command
from serving.launcher.server import CLOSE_TIMEOUT
from serving.launcher.server_options import EXIT_TIMEOUT, READY_TIMEOUT
from tests import kustomize
from tests.dockerfiles import DOCKER, ROOT, the

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="run `make setup`: it is a pin of ours")

FOLDER = DOCKER / "kubernetes"
VERSIONS = ["1.29", "1.35"]
VARIANTS = ["cpu", "gpu", "pools"]
SERVERS = [("cpu", "recast"), ("gpu", "recast"), ("pools", "recast"), ("pools", "recast-parse")]
RENDERED = {variant: kustomize.rendered(FOLDER / variant) for variant in [*VARIANTS, "kserve"]}
END = 5
"""Seconds that the launcher waits for more than it has said before it ends what is left."""


@pytest.fixture(params=SERVERS, ids="-".join)
def pod(request):
    """The pod template's spec of a Deployment of servers."""
    variant, name = request.param
    return kustomize.the(RENDERED[variant], "Deployment", name)["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (only,) = pod["containers"]
    return only


def mounts(container) -> dict[str, dict]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def patience(probe) -> int:
    """Seconds until a probe that never succeeds has failed."""
    return probe["periodSeconds"] * probe["failureThreshold"]


def options_of(command, monkeypatch):
    assert command[:3] == ["python3", "-m", "serving"]
    monkeypatch.setattr(sys, "argv", ["serving", *command[3:]])
    return launcher_command.parse_arguments()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_fits_kubernetes_schema(variant, version):
    for each in RENDERED[variant]:
        kubernetes_validate.validate(each, version, strict=True)
    kinds = {each["kind"] for each in RENDERED[variant]}
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler"} <= kinds


def test_the_schemas_refuse_a_misspelt_field():
    broken = json.loads(json.dumps(kustomize.the(RENDERED["cpu"], "Deployment", "recast")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to compare with")
@pytest.mark.parametrize("variant", RENDERED)
def test_kubectl_renders_the_same(variant):
    done = subprocess.run(["kubectl", "kustomize", FOLDER / variant], capture_output=True, text=True)
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    text = re.sub(r"(name: recast-[a-z-]+)-[a-z0-9]{10}$", r"\1", done.stdout, flags=re.MULTILINE)

    def in_order(objects):
        return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))

    assert in_order(yaml.safe_load_all(text)) == in_order(RENDERED[variant])


def test_readiness_is_the_models_own_and_starting_may_take_what_the_launcher_waits(container, monkeypatch):
    model = "parse" if "command" in container else "replace"
    ready = f"/v2/models/{model}/ready"
    assert (
        container["readinessProbe"]["httpGet"]
        == container["startupProbe"]["httpGet"]
        == {"path": ready, "port": "http"}
    )
    waits = READY_TIMEOUT
    assert patience(container["startupProbe"]) >= waits
    assert patience(container["livenessProbe"]) >= waits  # a tritonserver that the launcher starts again loads as long
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert patience(container["readinessProbe"]) <= 5
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    image = container["image"].removeprefix("recast:")
    options = options_of(container.get("command") or json.loads(the(image, "CMD")), monkeypatch)
    assert (options.ready_model, options.host) == (model, "0.0.0.0")
    assert [str(options.model_repository)] == sorted(
        {f"/{path.split('/')[1]}" for path in mounts(container)} - {"/dev"}
    )


def test_a_pod_has_the_time_to_finish_its_calls(pod, container):
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pause > patience(container["readinessProbe"])  # nobody sends new calls when SIGTERM comes
    assert pod["terminationGracePeriodSeconds"] >= pause + EXIT_TIMEOUT + CLOSE_TIMEOUT + END


def test_shared_memory_is_no_larger_than_half_the_memory(pod, container):
    (shm,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm"]
    assert shm["medium"] == "Memory"
    assert mounts(container)["/dev/shm"]["name"] == "shm"
    sizes = {"Mi": 1 << 20, "Gi": 1 << 30}
    limit, memory = (
        int(text[:-2]) * sizes[text[-2:]] for text in (shm["sizeLimit"], container["resources"]["limits"]["memory"])
    )
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())["x-server"]["shm_size"]
    if "command" not in container:  # all the models
        assert limit >= int(compose.removesuffix("gb")) << 30
    assert limit <= memory / 2


def test_servers_run_with_no_more_rights_than_they_need(pod, container):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False
    (key,) = [each for each in container["env"] if each["name"] == "RECAST_ADMIN_KEY"]
    assert set(key) == {"name", "valueFrom"}
    assert all(mount["readOnly"] for path, mount in mounts(container).items() if path.startswith("/models"))


@pytest.mark.parametrize(("variant", "gpus"), [("cpu", [0]), ("gpu", [1]), ("pools", [1, 1])])
def test_each_pod_of_a_gpu_variant_has_one_gpu(variant, gpus):
    found = []
    for name in sorted(name for where, name in SERVERS if where == variant):
        (container,) = kustomize.the(RENDERED[variant], "Deployment", name)["spec"]["template"]["spec"]["containers"]
        found.append(int(container["resources"]["limits"].get("nvidia.com/gpu", 0)))
        assert container["image"] == ("recast:cpu" if variant == "cpu" else "recast:gpu")
    assert found == gpus


def test_pods_are_added_where_requests_wait_and_not_where_a_gpu_is_busy():
    scaler = kustomize.the(RENDERED["cpu"], "HorizontalPodAutoscaler", "recast")["spec"]
    (metric,) = scaler["metrics"]
    (rule,) = yaml.safe_load((FOLDER / "autoscaling/adapter.yaml").read_text())["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("nv_inference_pending_request_count{")
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "recast"}
    assert scaler["minReplicas"] >= 2


def test_the_front_runs_the_proxys_file_and_finds_the_servers():
    objects = RENDERED["cpu"]
    front = kustomize.the(objects, "Deployment", "recast-front")["spec"]["template"]["spec"]
    (container,) = front["containers"]
    data = kustomize.the(objects, "ConfigMap", "recast-front")["data"]
    assert data == {"haproxy.cfg": (DOCKER / "haproxy/haproxy.cfg").read_text()}
    values = {each["name"]: each.get("value") for each in container["env"]}
    known = set(re.findall(r"^# (RECAST_\w+)", data["haproxy.cfg"], re.MULTILINE))
    assert {name for name in values if name.startswith("RECAST_")} <= known
    service = kustomize.the(objects, "Service", "recast")
    assert values["RECAST_REPLICAS"] == f"{service['metadata']['name']}.$(NAMESPACE).svc.cluster.local:8001"
    assert service["spec"]["clusterIP"] == "None"
    (policy,) = [each for each in objects if each["kind"] == "NetworkPolicy"]
    labels = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert labels == kustomize.the(objects, "Deployment", "recast-front")["spec"]["template"]["metadata"]["labels"]
    assert {each["port"] for each in policy["spec"]["ingress"][0]["ports"]} == {8000, 8001}


def test_selectors_name_the_pods_of_their_deployments():
    for variant in VARIANTS:
        pods = [
            each["spec"]["template"]["metadata"]["labels"] for each in RENDERED[variant] if each["kind"] == "Deployment"
        ]
        for each in RENDERED[variant]:
            spec = each["spec"] if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy") else {}
            selector = spec.get("podSelector") or spec.get("selector")
            if selector:
                assert selector.get("matchLabels", selector) in pods, each["metadata"]


def test_tls_is_one_component_more():
    objects = kustomize.rendered(FOLDER / "cpu")
    kustomize.apply(objects, FOLDER / "tls")
    (container,) = kustomize.the(objects, "Deployment", "recast-front")["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["RECAST_CERTIFICATE"] == f"{mounts(container)['/etc/recast']['mountPath']}/tls.crt"
    assert values["RECAST_API_KEYS"] == "/etc/recast/api-keys"


def test_the_forwarder_keeps_the_contract_of_parse_and_takes_its_place():
    ours, theirs = (
        text_format.Parse(path.read_text(), ModelConfig())
        for path in (FOLDER / "pools/parse/config.pbtxt", ROOT / "model_repository/parse/config.pbtxt")
    )
    assert list(ours.input) == list(theirs.input)
    assert list(ours.output) == list(theirs.output)
    assert ours.max_batch_size == theirs.max_batch_size
    assert ours.dynamic_batching.default_queue_policy == theirs.dynamic_batching.default_queue_policy
    service = kustomize.the(RENDERED["pools"], "Service", "recast-parse")
    assert ours.parameters["url"].string_value == f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    pod = kustomize.the(RENDERED["pools"], "Deployment", "recast")["spec"]["template"]["spec"]
    (forwarder,) = [volume["configMap"] for volume in pod["volumes"] if volume["name"] == "forwarder"]
    assert [item["path"] for item in forwarder["items"]] == ["config.pbtxt", "1/model.py"]
    data = kustomize.the(RENDERED["pools"], "ConfigMap", forwarder["name"])["data"]
    assert {item["key"] for item in forwarder["items"]} == set(data)
    assert mounts(pod["containers"][0])["/models/parse"]["name"] == "forwarder"


def test_kserve_starts_the_same_server(monkeypatch):
    """Its kinds are KServe's own, with no schema here; the container is Kubernetes'."""
    objects = RENDERED["kserve"]
    runtime = kustomize.the(objects, "ServingRuntime", "recast")["spec"]
    (container,) = runtime["containers"]
    options = options_of(container["command"], monkeypatch)
    assert (str(options.model_repository), options.host, options.config) == ("/mnt/models", "0.0.0.0", "cuda")
    predictor = kustomize.the(objects, "InferenceService", "recast")["spec"]["predictor"]
    deployment = kustomize.the(RENDERED["gpu"], "Deployment", "recast")["spec"]["template"]["spec"]
    assert predictor["terminationGracePeriodSeconds"] == deployment["terminationGracePeriodSeconds"]
    assert predictor["model"]["runtime"] == "recast"
    assert predictor["model"]["modelFormat"]["name"] == runtime["supportedModelFormats"][0]["name"]
    assert predictor["model"]["protocolVersion"] in runtime["protocolVersions"]
    (server,) = deployment["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        said, ours = container[probe], server[probe]
        assert said | {"httpGet": {**said["httpGet"], "port": "http"}} == ours
    assert container["lifecycle"] == server["lifecycle"]
    pod = {"containers": [container], "volumes": runtime["volumes"]}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "recast"}, "spec": pod}, VERSIONS[-1], strict=True
    )
