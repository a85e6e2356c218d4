"""What the chart makes of every file of values: who selects whom, who may what, what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from helmchart import MATRIX, Manifest, gateway_yaml, manifests, of_kind, pods, the, values_of

from gateway.app import LAST_PUSH
from gateway.cli import main

pytestmark = [pytest.mark.needs("helm"), pytest.mark.parametrize("name", MATRIX)]

#: What the closing of the front may take besides: connections, workers (listening.py, launch.py).
CONNECTIONS, WORKERS = 30 + 1, 2 * 2


def is_many(name: str) -> bool:
    values = values_of(name)
    return bool(values["replicas"] > 1 or values["autoscaling"]["enabled"])


def has_monitor(name: str) -> bool:
    values = values_of(name)
    return is_many(name) and values["monitor"]["deployment"] and not values["configBranch"]


def secrets_named(node: Any) -> set[str]:
    """Every secret that a manifest speaks of, however."""
    if isinstance(node, list):
        return set().union(*map(secrets_named, node))
    if not isinstance(node, dict):
        return set()
    found = set()
    if isinstance(name := node.get("secretName"), str):
        found.add(name)
    for key in ("secretKeyRef", "secretRef", "credentials", "secret"):
        if isinstance(one := node.get(key), dict) and "name" in one:
            found.add(one["name"])
    for one in node.get("imagePullSecrets", []):
        found.add(one["name"])
    return found.union(*map(secrets_named, node.values()))


def secrets_given(node: Any) -> set[str]:
    """Every secret that the values name."""
    if not isinstance(node, dict):
        return set()
    found = {node[key] for key in ("existingSecret", "tlsSecret") if node.get(key)}
    found |= {one["name"] for one in node.get("pullSecrets", [])}
    return found.union(*map(secrets_given, node.values()))


def test_what_selects_pods_selects_those_it_is_for(name: str) -> None:
    found = manifests(name)
    labelled = {kind: meta["labels"] for kind, meta, _ in pods(found)}

    def selected(labels: Manifest) -> list[str]:
        return [kind for kind, has in labelled.items() if labels.items() <= has.items()]

    for service in of_kind("Service", found):
        assert selected(service["spec"]["selector"]) == ["StatefulSet"]
    for kind in ("StatefulSet", "Deployment"):
        for one in of_kind(kind, found):
            assert selected(one["spec"]["selector"]["matchLabels"]) == [kind]
    budget = the("PodDisruptionBudget", found)["spec"]["selector"]["matchLabels"]
    assert selected(budget) == ["StatefulSet"]
    guarded = [
        kind
        for one in of_kind("NetworkPolicy", found)
        for kind in selected(one["spec"]["podSelector"]["matchLabels"])
    ]
    assert sorted(guarded) == sorted(labelled)
    for rule in the("StatefulSet", found)["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert "StatefulSet" in selected(rule["labelSelector"]["matchLabels"])


def test_every_name_is_the_releases_own_and_none_comes_twice(name: str) -> None:
    found = manifests(name)
    names = [(one["kind"], one["metadata"]["name"]) for one in found]
    assert len(names) == len(set(names))
    assert {one["metadata"]["namespace"] for one in found} == {"models"}
    stateful = the("StatefulSet", found)["spec"]
    services = [one["metadata"]["name"] for one in of_kind("Service", found)]
    assert stateful["serviceName"] in services


def test_every_pod_is_as_restricted_as_it_can_be(name: str) -> None:
    accounts = of_kind("ServiceAccount", manifests(name))
    assert [one["automountServiceAccountToken"] for one in accounts] == [False]
    for _, _, spec in pods(manifests(name)):
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == accounts[0]["metadata"]["name"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        whole = spec["securityContext"]
        assert whole["runAsNonRoot"] is True
        assert {whole["runAsUser"], whole["runAsGroup"], whole["fsGroup"]} == {10001}
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() >= {"memory"}


def test_secrets_are_those_that_the_values_name_and_none_is_made(name: str) -> None:
    found = manifests(name)
    assert of_kind("Secret", found) == []
    values = values_of(name)
    if not of_kind("ServiceMonitor", found):
        del values["serviceMonitor"]
    assert secrets_named(found) == secrets_given(values)


def test_every_mount_has_its_volume_and_every_volume_its_bound(name: str) -> None:
    found = manifests(name)
    claims = [
        one["metadata"]["name"] for one in the("StatefulSet", found)["spec"]["volumeClaimTemplates"]
    ]
    for kind, _, spec in pods(found):
        volumes = {one["name"]: one for one in spec.get("volumes", [])}
        known = {*volumes, *(claims if kind == "StatefulSet" else [])}
        mounts = spec["containers"][0].get("volumeMounts", [])
        assert {one["name"] for one in mounts} == known
        places = [one["mountPath"] for one in mounts]
        assert len(places) == len(set(places))
        # A file mounted by itself is never updated.
        assert not any("subPath" in one for one in mounts)
        for one in volumes.values():
            assert "emptyDir" not in one or one["emptyDir"]["sizeLimit"]
            assert "hostPath" not in one


def test_what_is_not_in_git_yet_outlives_the_gateway(name: str) -> None:
    spec = the("StatefulSet", manifests(name))["spec"]
    kept = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["persistentVolumeClaimRetentionPolicy"] == kept
    (claim,) = spec["volumeClaimTemplates"]
    mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"]
    (place,) = [one["mountPath"] for one in mounts if one["name"] == claim["metadata"]["name"]]
    assert gateway_yaml(manifests(name))["state_dir"] == place
    for one in of_kind("PersistentVolumeClaim", manifests(name)):
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_gateway_has_the_time_to_end_in_order(name: str) -> None:
    spec = the("StatefulSet", manifests(name))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + CONNECTIONS + WORKERS + LAST_PUSH
    assert spec["terminationGracePeriodSeconds"] >= needed


def test_probes_ports_and_services_are_of_where_it_listens(name: str) -> None:
    found = manifests(name)
    (container,) = the("StatefulSet", found)["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    said = gateway_yaml(found)
    assert said["listen"].rpartition(":")[2] == str(port["containerPort"])
    for probe, path in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ]:
        asked = container[probe]["httpGet"]
        scheme = "HTTPS" if "tls" in said else "HTTP"
        assert asked == {"path": path, "port": port["name"], "scheme": scheme}
    for service in of_kind("Service", found):
        assert [one["targetPort"] for one in service["spec"]["ports"]] == [port["name"]]
    for one in of_kind("Ingress", found):
        for rule in one["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            (target,) = [
                service
                for service in of_kind("Service", found)
                if service["metadata"]["name"] == backend["name"]
            ]
            assert backend["port"]["name"] in [p["name"] for p in target["spec"]["ports"]]


def test_commands_are_ones_that_the_gateway_has(name: str) -> None:
    for kind, _, spec in pods(manifests(name)):
        if kind == "Pod":
            continue
        command, *arguments = spec["containers"][0]["args"]
        context = main.commands[command].make_context(command, arguments, obj={})
        assert str(context.params["file"]) == "/etc/gateway/gateway.yaml"
        assert context.params["log_format"] == values_of(name)["logFormat"]
        if command == "serve":
            assert (context.params["config_branch"] or "") == values_of(name)["configBranch"]


def test_one_monitor_publishes_for_several_gateways_where_it_can(name: str) -> None:
    found = of_kind("Deployment", manifests(name))
    assert len(found) == has_monitor(name)
    for one in found:
        spec = one["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        (container,) = spec["template"]["spec"]["containers"]
        assert container["args"][:2] == ["monitor", "--for-replicas"]
        # What it has no use for it does not get.
        volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
        assert not volumes & {"access", "tls", "webhook"}
        assert "ports" not in container


def test_the_scaler_alone_says_how_many(name: str) -> None:
    found, values = manifests(name), values_of(name)
    scalers = of_kind("HorizontalPodAutoscaler", found)
    assert len(scalers) == values["autoscaling"]["enabled"]
    assert ("replicas" in the("StatefulSet", found)["spec"]) is (not scalers)
    for one in scalers:
        target = one["spec"]["scaleTargetRef"]
        stateful = the("StatefulSet", found)
        assert (target["kind"], target["name"]) == ("StatefulSet", stateful["metadata"]["name"])
        down, up = one["spec"]["behavior"]["scaleDown"], one["spec"]["behavior"]["scaleUp"]
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
        assert down["stabilizationWindowSeconds"] > up["stabilizationWindowSeconds"]


def test_a_gateway_reaches_names_git_and_redis_and_nothing_else(name: str) -> None:
    found, values = manifests(name), values_of(name)["networkPolicy"]
    wanted = [{53}, set(values["git"]["ports"])]
    if values_of(name)["redis"]["existingSecret"]:
        wanted.append({values["redis"]["port"]})
    wanted += [{port["port"] for port in rule["ports"]} for rule in values["extraEgress"]]
    for policy in of_kind("NetworkPolicy", found):
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        if policy["metadata"]["name"].endswith("-test"):
            continue
        assert [{port["port"] for port in rule["ports"]} for rule in spec["egress"]] == wanted
        if policy["metadata"]["name"].endswith("-monitor"):
            assert spec["ingress"] == []
        else:
            (rule,) = spec["ingress"]
            assert [one for one in rule.get("from", []) if one in values["from"]] == values["from"]
