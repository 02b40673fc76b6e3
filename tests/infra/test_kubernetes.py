"""The manifests of Kubernetes: probes, little privilege, and no way in from outside the project."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"
MANIFESTS = ("dask.yaml", "prefect.yaml", "network.yaml")
MEMBER = {"project": "stego-flows"}
WRITABLE = {"/tmp", "/home/stego"}


def documents() -> list[Any]:
    texts = [(INFRA / "kubernetes" / name).read_text() for name in MANIFESTS]
    read = [document for text in texts for document in yaml.safe_load_all(text)]
    return [item for document in read for item in document.get("items", [document])]


def of_kind(kind: str) -> dict[str, Any]:
    return {d["metadata"]["name"]: d for d in documents() if d["kind"] == kind}


def job() -> Any:
    template = json.loads((INFRA / "prefect" / "work-pool-kubernetes.json").read_text())
    return template["job_configuration"]["job_manifest"]["spec"]["template"]


PODS = {**{name: d["spec"]["template"] for name, d in of_kind("Deployment").items()}, "run": job()}


@pytest.mark.parametrize("name", PODS)
class TestEveryPod:
    def test_has_as_little_privilege_as_can_be(self, name: str) -> None:
        spec = PODS[name]["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_can_write_where_it_must(self, name: str) -> None:
        spec = PODS[name]["spec"]
        (container,) = spec["containers"]
        empty = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts) == WRITABLE
        assert set(mounts.values()) == empty

    def test_is_a_member_of_the_project(self, name: str) -> None:
        assert MEMBER.items() <= PODS[name]["metadata"]["labels"].items()

    def test_sees_the_clusters_interface_only_if_it_is_the_worker(self, name: str) -> None:
        spec = PODS[name]["spec"]
        if name == "stego-prefect-worker":
            assert spec["serviceAccountName"] == name
        else:
            assert spec["automountServiceAccountToken"] is False

    def test_holds_no_secret_itself(self, name: str) -> None:
        (container,) = PODS[name]["spec"]["containers"]
        for variable in container["env"] if isinstance(container.get("env"), list) else []:
            secret = any(word in variable["name"] for word in ("AUTH", "CONNECTION", "KEY"))
            assert not secret or "secretKeyRef" in variable["valueFrom"]


@pytest.mark.parametrize("name", of_kind("Deployment"))
class TestProbes:
    def container(self, name: str) -> Any:
        (container,) = PODS[name]["spec"]["containers"]
        return container

    def test_there_are_three_and_they_ask_ports_that_are_open(self, name: str) -> None:
        container = self.container(name)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[kind]
            way = probe.get("httpGet") or probe.get("tcpSocket")
            assert way["port"] in ports
            text = " ".join(container["args"])
            served = str(ports[way["port"]])
            assert served in text or (name, served) == ("stego-prefect-worker", "8080")

    def test_a_busy_process_is_given_minutes(self, name: str) -> None:
        live = self.container(name)["livenessProbe"]
        assert live["periodSeconds"] * live["failureThreshold"] >= 120


def selected(selector: Any, labels: dict[str, str]) -> bool:
    return selector["matchLabels"].items() <= labels.items()


def allowed(source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """What the policies say, as the API documents it: isolated pods take what one policy lists."""
    policies = [d["spec"] for d in of_kind("NetworkPolicy").values()]
    own = [policy for policy in policies if selected(policy["podSelector"], target)]
    assert all(policy["policyTypes"] == ["Ingress"] for policy in own)
    if not own:
        return True
    return any(
        any(selected(peer["podSelector"], source) for peer in rule["from"])
        and ("ports" not in rule or port in {entry["port"] for entry in rule["ports"]})
        for policy in own
        for rule in policy["ingress"]
    )


LABELS = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}


class TestNetwork:
    @pytest.mark.parametrize(
        ("target", "port"),
        [
            ("stego-dask-scheduler", 8786),
            ("stego-dask-scheduler", 8787),
            ("stego-dask-cpu", 8790),
            ("stego-dask-gpu", 43210),
            ("stego-prefect-server", 4200),
            ("stego-prefect-worker", 8080),
            ("run", 9999),
        ],
    )
    def test_strangers_reach_nothing(self, target: str, port: int) -> None:
        stranger = {"app": "other", "app.kubernetes.io/part-of": "prefect"}
        assert not allowed(stranger, LABELS[target], port)

    @pytest.mark.parametrize(
        ("source", "target", "port"),
        [
            ("run", "stego-dask-scheduler", 8786),
            ("stego-dask-cpu", "stego-dask-scheduler", 8786),
            ("stego-dask-scheduler", "stego-dask-gpu", 43210),
            ("stego-dask-gpu", "stego-dask-cpu", 43210),
            ("run", "stego-dask-cpu", 43210),
            ("run", "stego-prefect-server", 4200),
            ("stego-dask-cpu", "stego-prefect-server", 4200),
            ("stego-prefect-worker", "stego-prefect-server", 4200),
        ],
    )
    def test_the_project_reaches_what_it_needs(self, source: str, target: str, port: int) -> None:
        assert allowed(LABELS[source], LABELS[target], port)

    def test_nobody_needs_the_runs(self) -> None:
        assert not allowed(LABELS["stego-dask-cpu"], LABELS["run"], 8080)


def test_services_lead_to_pods_that_listen() -> None:
    for name, service in of_kind("Service").items():
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = [p for p in PODS.values() if selected(selector, p["metadata"]["labels"])]
        (container,) = pod["spec"]["containers"]
        open_ports = {port["containerPort"] for port in container["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} <= open_ports, name


def test_the_worker_may_start_jobs_and_nothing_beyond_its_namespace() -> None:
    kinds = {document["kind"] for document in documents()}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    (role,), (binding,) = of_kind("Role").values(), of_kind("RoleBinding").values()
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {"create", "delete", "watch"} <= granted["batch", "jobs"]
    assert granted["", "pods"] == granted["", "pods/log"] == {"get", "list", "watch"}
    assert not any("*" in verbs for verbs in granted.values())
    assert not any(resource == "secrets" for _, resource in granted)
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "stego-prefect-worker"}]
    assert set(of_kind("ServiceAccount")) == {"stego-prefect-worker"}


def test_the_cluster_announces_its_gpus() -> None:
    arguments = {name: pod["spec"]["containers"][0].get("args") for name, pod in PODS.items()}
    assert "GPU=1" in arguments["stego-dask-gpu"]
    assert "GPU=1" not in arguments["stego-dask-cpu"]
