"""The files that bring a cluster up: KubeRay manifests, launcher YAML, the image. Nothing here needs a cluster."""

import copy
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "cluster"
KUBERAY = CLUSTER / "kuberay"
KUBERNETES = "1.31"
TOGETHER = [
    ["job", "s3", "spot"],
    ["job", "pvc", "spot", "tls"],
    ["pvc"],
    ["s3", "cpu", "tls"],
    ["job", "pvc", "cpu"],
    ["pvc", "s3", "spot", "cpu", "tls"],
]


# -- kustomize: as much of it as the manifests use; a test compares it with the real one where that is installed --------


def read(path: Path) -> list[dict]:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    return json.loads(json.dumps(documents))  # what anchors share becomes copies, as kustomize has it


def apply(objects: list[dict], patch: dict, folder: Path) -> None:
    operations = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
    for target in [one for one in objects if one["kind"] == patch["target"]["kind"]]:
        for operation in operations:
            *way, last = operation["path"].strip("/").replace("~1", "/").split("/")
            place = target
            for step in way:
                place = place[int(step) if isinstance(place, list) else step]
            value = copy.deepcopy(operation["value"])
            if isinstance(place, list):
                assert operation["op"] == "add" if last == "-" else operation["op"] == "replace"
                place[len(place) :] = [value] if last == "-" else []
                if last != "-":
                    place[int(last)] = value
            else:
                assert (last in place) == (operation["op"] == "replace"), operation["path"]
                place[last] = value


def build(folder: Path, text: dict | None = None, objects: list[dict] | None = None) -> list[dict]:
    """What `kubectl kustomize` makes of a folder, or of the text of a kustomization in it."""
    text = text or read(folder / "kustomization.yaml")[0]
    known = {"apiVersion", "kind", "namespace", "resources", "components", "images", "patches", "replacements"}
    assert set(text) <= known, set(text) - known
    objects = [] if objects is None else objects
    for name in text.get("resources", []):
        path = folder / name
        objects += build(path) if path.is_dir() else copy.deepcopy(read(path))
    for name in text.get("components", []):
        build(folder / name, objects=objects)
    for patch in text.get("patches", []):
        apply(objects, patch, folder)
    for image, one in itertools.product(text.get("images", []), [c for o in objects for c in containers(o)]):
        if one["image"].partition(":")[0] == image["name"]:
            one["image"] = f"{image['newName']}:{image['newTag']}"
    for one in objects if "namespace" in text else []:
        one["metadata"]["namespace"] = text["namespace"]
    for copying in text.get("replacements", []):
        assert copying["source"] == {"kind": "RayCluster", "fieldPath": "spec"}
        assert [t["fieldPaths"] for t in copying["targets"]] == [["spec.rayClusterSpec"]]
        spec = next(o["spec"] for o in objects if o["kind"] == "RayCluster")
        next(o for o in objects if o["kind"] == "RayJob")["spec"]["rayClusterSpec"] = copy.deepcopy(spec)
        objects = [o for o in objects if o["kind"] != "RayCluster"]  # marked as local, see components/job
    return objects


def templates(one: dict) -> list[dict]:
    """The pod templates in an object."""
    spec = one.get("spec", {})
    found = [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    cluster = spec.get("rayClusterSpec", spec)
    if "headGroupSpec" in cluster:
        found += [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]
    return found


def containers(one: dict) -> list[dict]:
    specs = [template["spec"] for template in templates(one)]
    return [c for spec in specs for c in spec.get("initContainers", []) + spec["containers"]]


def variant(components: list[str]) -> list[dict]:
    """The objects of run/ or standing/ with these components instead of theirs."""
    folder = KUBERAY / ("run" if "job" in components else "standing")
    text = read(folder / "kustomization.yaml")[0]
    return build(folder, text | {"components": [f"../components/{name}" for name in components]})


VARIANTS = {"+".join(names): variant(names) for names in TOGETHER}


@pytest.fixture(params=VARIANTS)
def objects(request) -> list[dict]:
    return copy.deepcopy(VARIANTS[request.param])


def test_every_component_is_in_a_variant():
    there = {path.name for path in (KUBERAY / "components").iterdir()}
    assert there == {name for names in TOGETHER for name in names}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["run", "standing"])
def test_kustomize_builds_the_same(folder):
    done = subprocess.run(["kubectl", "kustomize", KUBERAY / folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert by_name(yaml.safe_load_all(done.stdout)) == by_name(build(KUBERAY / folder))


def by_name(objects) -> dict[str, dict]:
    return {f"{one['kind']} {one['metadata']['name']}": one for one in objects}


# -- KubeRay's own kinds: the fields that its types have, apiVersion ray.io/v1, KubeRay 1.7 ----------------------------

POD_TEMPLATE = "a pod template"  # checked as a Pod
TEXTS = "texts by name"
GROUP = {"rayStartParams": TEXTS, "template": POD_TEMPLATE}
CLUSTER_SPEC = {
    "rayVersion": str,
    "authOptions": {"mode": ("token", "disabled"), "secretName?": str, "enableK8sTokenAuth?": bool},
    "headGroupSpec": {**GROUP, "serviceType?": str, "enableIngress?": bool, "resources?": TEXTS, "labels?": TEXTS},
    "workerGroupSpecs": [
        {
            **GROUP,
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "numOfHosts?": int,
            "idleTimeoutSeconds?": int,
            "suspend?": bool,
        }
    ],
    "enableInTreeAutoscaling?": bool,
    "suspend?": bool,
    "managedBy?": str,
    "headServiceAnnotations?": TEXTS,
}
JOB_SPEC = {
    "entrypoint": str,
    "rayClusterSpec": CLUSTER_SPEC,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "submissionMode": ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
    "submitterPodTemplate": POD_TEMPLATE,
    "runtimeEnvYAML": str,
    "ttlSecondsAfterFinished?": int,
    "activeDeadlineSeconds?": int,
    "preRunningDeadlineSeconds?": int,
    "submitterConfig?": {"backoffLimit?": int},
    "suspend?": bool,
    "managedBy?": str,
    "jobId?": str,
    "metadata?": TEXTS,
}
METADATA = {"name": str, "namespace": str, "annotations?": TEXTS, "labels?": TEXTS}


def fits(value: Any, shape: Any, where: str) -> None:
    """Assert that a value has this shape: known fields of their types, and those without a ? present."""
    if isinstance(shape, dict):
        known = {name.rstrip("?"): inner for name, inner in shape.items()}
        assert isinstance(value, dict), where
        assert set(value) <= set(known), f"{where}: unknown {set(value) - set(known)}"
        missing = {name for name in shape if not name.endswith("?")} - set(value)
        assert not missing, f"{where}: without {missing}"
        for name, inner in value.items():
            fits(inner, known[name], f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        assert value, where
        for number, inner in enumerate(value):
            fits(inner, shape[0], f"{where}[{number}]")
    elif isinstance(shape, tuple):
        assert value in shape, f"{where}: {value}"
    elif shape is POD_TEMPLATE:
        assert set(value) <= {"metadata", "spec"}, where
    elif shape is TEXTS:
        assert all(type(text) is str for text in value.values()), f"{where}: {value}: numbers in quotes"
    else:
        assert type(value) is shape, f"{where}: {value!r}"


def test_ray_kinds_have_their_fields(objects):
    kinds = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}
    mine = [one for one in objects if one["kind"] in kinds]
    assert len(mine) == 1
    fits(mine[0], {"apiVersion": ("ray.io/v1",), "kind": str, "metadata": METADATA, "spec": kinds[mine[0]["kind"]]}, "")


@pytest.mark.parametrize("change", [("headGroupSpecs", {}), ("rayVersion", 2.6), ("workerGroupSpecs", [])])
def test_the_check_of_fields_notices(change):
    spec = copy.deepcopy(cluster("pvc"))
    fits(spec, CLUSTER_SPEC, "")
    spec[change[0]] = change[1]
    with pytest.raises(AssertionError):
        fits(spec, CLUSTER_SPEC, "")


def cluster(name: str) -> dict:
    return next(spec_of(one) for one in VARIANTS[name] if one["kind"].startswith("Ray"))


def spec_of(one: dict) -> dict:
    return one["spec"].get("rayClusterSpec", one["spec"])


# -- Kubernetes' own kinds, pod templates among them ------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_objects_are_valid_for_kubernetes(name):
    validate = pytest.importorskip("kubernetes_validate").validate
    for one in VARIANTS[name]:
        if not one["kind"].startswith("Ray"):
            validate(one, KUBERNETES, strict=True)
        for number, template in enumerate(templates(one)):
            metadata = template.get("metadata", {}) | {"name": f"pod-{number}"}
            validate({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}, KUBERNETES, strict=True)


def test_pods_are_hardened(objects):
    for one in objects:
        for template in templates(one):
            spec = template["spec"]
            assert spec["automountServiceAccountToken"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["runAsUser"] > 0
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
            assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
            assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ragdist"  # the NetworkPolicy's
        for container in containers(one):
            context = container["securityContext"]
            assert context == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            resources = container["resources"]
            assert set(resources["requests"]) == set(resources["limits"]) >= {"cpu", "memory"}
            if container["name"].endswith(("head", "worker")):  # these are not to be the first that a full node ends
                assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_only_the_cluster_and_the_operator_reach_the_pods(objects):
    mine = {"matchLabels": {"app.kubernetes.io/part-of": "ragdist"}}
    policy = next(one["spec"] for one in objects if one["kind"] == "NetworkPolicy")
    assert policy["podSelector"] == mine
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    own, operator = policy["ingress"]
    assert own == {"from": [{"podSelector": mine}]}
    assert [(set(one), rule["port"]) for one, rule in zip(operator["from"], operator["ports"], strict=True)] == [
        ({"namespaceSelector", "podSelector"}, 8265)
    ]
    outside = [
        rule
        for rule in policy["egress"]
        if {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in [to.get("ipBlock") for to in rule["to"]]
    ]
    assert [[port["port"] for port in rule["ports"]] for rule in outside] == [[443]]


def test_authentication_is_on_and_said(objects):
    for one in objects:
        if one["kind"].startswith("Ray"):
            assert spec_of(one)["authOptions"] == {"mode": "token"}
        for container in containers(one):
            if container["name"] != "certificate":
                assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]


def test_a_drained_node_has_time_and_the_head_computes_nothing(objects):
    spec = next(spec_of(one) for one in objects if one["kind"].startswith("Ray"))
    head, worker = spec["headGroupSpec"], spec["workerGroupSpecs"][0]
    assert head["rayStartParams"]["num-cpus"] == "0"
    drain = float(environment(worker)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert 30 <= drain <= worker["template"]["spec"]["terminationGracePeriodSeconds"] - 30
    health = {name: int(value) for name, value in environment(head).items() if name.startswith("RAY_health")}
    assert health["RAY_health_check_failure_threshold"] * health["RAY_health_check_timeout_ms"] <= 10_000
    assert spec["rayVersion"] == pinned("ray")
    group = worker["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]["ray.io/group"]
    assert group == worker["groupName"]


def environment(group: dict) -> dict[str, str]:
    return {e["name"]: e["value"] for e in group["template"]["spec"]["containers"][0]["env"]}


def pinned(package: str) -> str:
    return re.search(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_components_do_what_they_say(name):
    spec, parts = cluster(name), name.split("+")
    head, worker = (g["template"]["spec"] for g in (spec["headGroupSpec"], spec["workerGroupSpecs"][0]))
    for pod in (head, worker):
        mounts = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
        volumes = {one["name"] for one in pod["volumes"]}
        assert mounts <= volumes
        assert ("data" in mounts) == ("pvc" in parts)
        assert ("envFrom" in pod["containers"][0]) == ("s3" in parts)
        assert ("tls" in mounts) == ("tls" in parts)
        assert "ca" not in mounts  # the authority's key is for the init container alone
        assert ("RAY_USE_TLS" in {e["name"] for e in pod["containers"][0]["env"]}) == ("tls" in parts)
    assert ("affinity" in worker) == ("affinity" in head) == ("spot" in parts)
    assert ("nvidia.com/gpu" in worker["containers"][0]["resources"]["limits"]) == ("cpu" not in parts)
    if "spot" in parts:
        terms = ["nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]
        never, any_of = (pod["affinity"][terms[0]][terms[1]]["nodeSelectorTerms"] for pod in (head, worker))
        assert len(never) == 1  # all of one term's expressions must hold, and any one of the terms
        keys, others = ({e["key"] for term in terms for e in term["matchExpressions"]} for terms in (never, any_of))
        assert keys == others


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("who", ["head", "worker"])
def test_certificates(who, tmp_path):
    script = read(KUBERAY / "components/tls" / f"{who}.yaml")[0][0]["value"][0]["args"][0]
    script = re.sub(r"(?<!\S)/(?=ca/|tls\b)", f"{tmp_path}/", script)
    for folder in ("ca", "tls"):
        (tmp_path / folder).mkdir()
    new = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ragdist -keyout ca/tls.key -out ca/tls.crt"
    subprocess.run(new.split(), cwd=tmp_path, check=True, capture_output=True)
    environment = {"PATH": "/usr/bin:/bin", "POD_IP": "10.1.2.3", "FQ_RAY_IP": "head-svc.ragdist.svc.cluster.local"}
    subprocess.run(["bash", "-euc", script], env=environment, check=True, capture_output=True)
    checked = ["-CAfile", "tls/ca.crt", "-verify_ip", "10.1.2.3", "-verify_hostname", environment["FQ_RAY_IP"]]
    subprocess.run(["openssl", "verify", *checked, "tls/tls.crt"], cwd=tmp_path, check=True, capture_output=True)
