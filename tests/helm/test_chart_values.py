"""Values: what is refused and in which words, and what an edit comes to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helmchart import CHART, FOLDER, MATRIX, gateway_yaml, helm, manifests, pods, rendered, template
from helmchart import the as the_only
from ruamel.yaml import YAML

from gateway.config import Config
from gateway.config.document import parse_config, parse_operator
from gateway.config.settings import RESTART_ONLY

#: Values over those of a file of the matrix, and words that must be said of them.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("minimal", {"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
    ("minimal", {"replicas": "3"}, "at '/replicas': got string, want integer"),
    ("minimal", {"replica": 3}, "additional properties 'replica' not allowed"),
    ("minimal", {"persistence": {"enabled": False}}, "additional properties 'enabled'"),
    ("minimal", {"persistence": {"size": "ten"}}, "at '/persistence/size'"),
    ("minimal", {"persistence": {"accessModes": ["ReadWriteMany"]}}, "'ReadWriteOnce'"),
    ("minimal", {"access": {"anonymous": ["all"]}}, "must be one of 'predict', 'feedback'"),
    ("minimal", {"git": {"password": "hunter2"}}, "additional properties 'password' not allowed"),
    ("minimal", {"config": {"brances": {}}}, "additional properties 'brances' not allowed"),
    ("minimal", {"terminationGracePeriodSeconds": 30}, "minimum: got 30, want 65"),
    ("minimal", {"service": {"port": 70000}}, "at '/service/port': maximum"),
    ("minimal", {"image": {"digest": "latest"}}, "at '/image/digest'"),
    ("minimal", {"serviceMonitor": {"enabled": "yes"}}, "at '/serviceMonitor/enabled'"),
    ("minimal", {"ingress": {"hosts": ["https://a.example.org"]}}, "at '/ingress/hosts/0'"),
    ("minimal", {"replicas": 2}, "redis.existingSecret: several gateways are one only with"),
    ("minimal", {"autoscaling": {"enabled": True}}, "keep replicas at 1 without autoscaling"),
    (
        "replicas",
        {"unitKey": {"existingSecret": ""}},
        "unitKey.existingSecret: gateways that share",
    ),
    ("minimal", {"redis": {"existingSecret": "r"}}, "unitKey.existingSecret"),
    ("minimal", {"access": {"anonymous": []}}, "say aloud in access.anonymous"),
    ("minimal", {"config": {"listen": "0.0.0.0:80"}}, "config.listen: is set by the chart"),
    (
        "minimal",
        {"config": {"webhook": {"secret_env": "A"}}},
        "config.webhook: is set by the chart",
    ),
    ("replicas", {"config": {"redis": {"url_env": "A"}}}, "config.redis.url_env: is set by"),
    ("minimal", {"config": {"access": {"keys_file": "/k"}}}, "config.access.keys_file: is set by"),
    ("minimal", {"config": {"redis": {"prefix": "a"}}}, "redis.existingSecret does not say where"),
    ("minimal", {"config": {"repository": ""}}, "at '/config/repository'"),
    ("minimal", {"configBranch": "prod"}, "config.branches: stands in the repository"),
    ("minimal", {"ingress": {"enabled": True}}, "ingress.hosts: must name a host"),
    (
        "autoscaled",
        {"autoscaling": {"minReplicas": 10}},
        "autoscaling.minReplicas: must be at most maxReplicas, which is 9; it is 10",
    ),
    (
        "tls",
        {"serviceMonitor": {"authorization": {"existingSecret": ""}}},
        "Prometheus needs an API key with the scope read",
    ),
]


@pytest.mark.needs("helm")
@pytest.mark.parametrize(("name", "changed", "words"), REFUSED)
def test_a_mistake_is_refused_and_named(
    name: str, changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    over = tmp_path / "over.json"
    over.write_text(json.dumps(changed))
    done = template(FOLDER / f"{name}.yaml", over)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())


@pytest.mark.needs("helm")
def test_all_that_does_not_go_together_is_said_at_once() -> None:
    done = template()
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("- ")]
    assert [line.split(":")[0] for line in said] == [
        "- config.repository",
        "- config.baseline",
        "- config.branches",
        "- access",
    ]


@pytest.mark.needs("helm")
@pytest.mark.parametrize("name", MATRIX)
def test_the_gateway_takes_its_gateway_yaml(name: str) -> None:
    said = gateway_yaml(manifests(name))
    parse = parse_config if "branches" in said else parse_operator
    parse(json.dumps(said), "gateway.yaml")


@pytest.mark.needs("helm")
@pytest.mark.parametrize("name", MATRIX)
def test_files_of_secrets_lie_where_the_secrets_are_mounted(name: str) -> None:
    found = manifests(name)
    files = set(re.findall(r"/run/secrets/[^\s\"']+", json.dumps(gateway_yaml(found))))
    for kind, _, spec in pods(found):
        if kind == "Pod":
            continue
        mounts = [one["mountPath"] for one in spec["containers"][0]["volumeMounts"]]
        secret = {place for place in mounts if place.startswith("/run/secrets/")}
        named = {str(Path(file).parent) for file in files}
        assert secret <= named
        if kind == "StatefulSet":
            assert secret == named


def digest(found: list[Any]) -> str:
    meta = the_only("StatefulSet", found)["spec"]["template"]["metadata"]
    return str(meta["annotations"]["branch-gateway/restart-settings"])


@pytest.mark.needs("helm")
def test_pods_are_replaced_for_what_needs_a_restart_and_for_nothing_else(tmp_path: Path) -> None:
    before = digest(manifests("replicas"))
    for followed in (
        {"config": {"branches": {"prod": {"weight": 50}}}},
        {"config": {"poll": "5s", "monitoring": {"flush": "1m"}}},
        {"access": {"anonymous": ["read"]}},
    ):
        found = rendered(tmp_path, "replicas", followed)
        assert gateway_yaml(found) != gateway_yaml(manifests("replicas"))
        assert digest(found) == before
    changes: dict[str, Any] = {
        "repository": {"config": {"repository": "https://git.example.org/other.git"}},
        "listen": {"listenHost": "[::]"},
        "unit_key_file": {"unitKey": {"key": "another"}},
        "credentials": {"git": {"username": "somebody"}},
        "webhook": {"webhook": {"existingSecret": "team-webhook"}},
        "redis": {"config": {"redis": {"prefix": "another"}}},
        "tls": {"tls": {"existingSecret": "gateway-certificate"}},
        "trust": {"config": {"trust": {"formats": ["onnx"]}}},
        "sandbox": {"config": {"sandbox": "required"}},
    }
    for change in changes.values():
        assert digest(rendered(tmp_path, "replicas", change)) != before
    # The state directory is the chart's own and never another one; keys come from no variable.
    assert {*changes, "state_dir", "unit_key_env"} == RESTART_ONLY


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("minimal", ["serves ab-test, prod of https://", "Anybody who reaches", "found by polls"]),
        ("replicas", ["-monitor counts and publishes for all", 'Bearer $KEY" http://localhost']),
        ("autoscaled", ["One of the gateways counts and publishes"]),
        ("ingress", ["https://gateway.example.org/predict", "POST /webhooks/git"]),
        ("tls", ["curl -k -H", "https://localhost:8080/branches"]),
        ("branch", ["serves who the gateway.yaml on prod says of ssh://git@"]),
    ],
)
def test_notes_tell_the_next_steps_for_the_values_at_hand(name: str, words: list[str]) -> None:
    done = helm(
        *("install", "churn", CHART, "--namespace", "models", "--dry-run=client"),
        *("--values", FOLDER / f"{name}.yaml"),
    )
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert [word for word in words if word not in notes] == []
    assert "get pvc -l app.kubernetes.io/instance=churn" in notes


def keys(node: Any, schema: Any, path: str = "") -> set[str]:
    """Values without a place in the schema, and places without a value."""
    if "$ref" in schema or "properties" not in schema:
        return set()
    if schema.get("additionalProperties") is not False:
        return {f"{path}: more is allowed"}
    odd = {f"{path}.{key}" for key in node.keys() ^ schema["properties"].keys()}
    for key in node.keys() & schema["properties"].keys():
        odd |= keys(node[key], schema["properties"][key], f"{path}.{key}")
    return odd


def test_the_schema_knows_every_value_and_nothing_else() -> None:
    values = YAML(typ="safe").load(CHART / "values.yaml")
    schema = json.loads((CHART / "values.schema.json").read_text())
    settings = schema["properties"]["config"]
    assert settings["additionalProperties"] is False
    assert settings["properties"].keys() == Config.model_fields.keys(), (
        "a setting of gateway.yaml has its place in helm/values.schema.json as well"
    )
    del settings["properties"]
    assert keys(values, schema) == set()
