"""The rendered chart: valid for Kubernetes, hardened, and agreeing with itself and with the gateway."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import yaml

from tests.helm.chart import KUBERNETES_MIN, ROOT, Chart, Manifest, Rendered, package_version

VALUES = ("minimal", "single", "everything")
KUBERNETES = (KUBERNETES_MIN, "1.34.0", "1.37.0")
"""The oldest, the newest that the pinned validator knows, and one between."""
OF_THE_PROMETHEUS_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that Kubernetes itself has no schema for."""
RULES = """\
groups:
  - name: ringfence
    rules:
      - alert: RingfenceExample
        expr: ringfence_store_up == 0
        annotations: {summary: "{{ $labels.instance }} is at {{ $value }}"}
"""
BOARD = '{"title": "Ringfence", "panels": [{"legend": "{{team}}"}]}\n'


@pytest.fixture(params=VALUES)
def rendered(chart: Chart, request: pytest.FixtureRequest) -> Rendered:
    return chart.render(request.param)


@pytest.mark.parametrize("name", VALUES)
def test_lint_finds_nothing(chart: Chart, name: str) -> None:
    said = chart.run("lint", "--strict", chart.folder, "--values", chart.values(name), "--kube-version", KUBERNETES_MIN)
    assert "0 chart(s) failed" in said and "[WARNING]" not in said


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_valid_for_every_kubernetes(
    rendered: Rendered, validator: str, version: str, tmp_path: Path
) -> None:
    said = validated(validator, rendered.text, version, tmp_path)
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", said))
    assert len(re.findall("passed for resource", said)) >= 4
    assert unknown <= OF_THE_PROMETHEUS_OPERATOR


def test_validator_finds_a_mistyped_key(chart: Chart, validator: str, tmp_path: Path) -> None:
    broken = chart.render().text.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem")
    assert "passed for resource deployment" not in validated(validator, broken, KUBERNETES[-1], tmp_path)


def validated(validator: str, text: str, version: str, folder: Path) -> str:
    """What the validator says of the manifests."""
    path = folder / "manifests.yaml"
    path.write_text(text)
    command = [validator, "--strict", "-k", version, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode == 0) == ("ERROR" not in done.stdout + done.stderr), done.stdout + done.stderr
    return done.stdout + done.stderr


def test_configuration_is_accepted_by_the_gateway(rendered: Rendered, tmp_path: Path) -> None:
    path, environ = installed_config(rendered, tmp_path)
    installed = os.environ.get("RINGFENCE_INSTALLED")
    gateway = [installed] if installed else [sys.executable, "-m", "gateway"]
    command = [*gateway, "check", "--json", "--config", str(path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)
    problems = json.loads(done.stdout)["problems"]
    # The OPA server beside the gateway is not here.
    assert [each for each in problems if each["place"] != "policy.url"] == [], done.stdout + done.stderr


def test_configuration_keeps_large_numbers_and_quoted_words(chart: Chart) -> None:
    text = chart.render("everything").config_text
    assert "total_tokens: 250000000\n" in text and "queue_seconds: 12.5\n" in text
    assert 'shell/package_installs: "off"\n' in text and yaml.safe_load(text)["store"]["url"].endswith("/ca.crt")


def installed_config(rendered: Rendered, folder: Path) -> tuple[Path, dict[str, str]]:
    """The configuration as a pod would have it: with its variables, its files and its folders."""
    text = rendered.config_text
    for name in ("/run/secrets/ringfence", "/var/lib/ringfence", "/srv/projects"):
        text = text.replace(name, str(folder))
    (folder / "ci").write_text("a-secret-for-the-checks-of-the-chart")
    path = folder / "ringfence.yaml"
    path.write_text(text)
    names = cast(list[str], re.findall(r"\$\{([A-Z_]+)\}", text))
    return path, {**os.environ, "PGPASSWORD": "x", **{name: f"a-value-of-{name.lower()}" for name in names}}


def own_containers(rendered: Rendered) -> Iterator[Manifest]:
    """Those that the chart writes; those of extraInitContainers are the user's."""
    spec = rendered.pod["spec"]
    yield from spec["containers"]
    yield from (each for each in spec.get("initContainers", []) if each["name"] == "opa")


def test_containers_have_no_rights(rendered: Rendered) -> None:
    pod = rendered.pod["spec"]
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in own_containers(rendered):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
    assert all(account["automountServiceAccountToken"] is False for account in rendered.of_kind("ServiceAccount"))


def test_password_comes_from_the_secret_only(rendered: Rendered) -> None:
    password = next(each for each in rendered.gateway["env"] if each["name"] == "PGPASSWORD")
    assert password["valueFrom"]["secretKeyRef"]["name"] == "ringfence-database"
    assert rendered.of_kind("Secret") == []


def test_readiness_and_liveness_ask_the_process_over_its_api_port(rendered: Rendered) -> None:
    paths = {name: rendered.gateway[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/healthz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    assert {probe["port"] for probe in paths.values()} == {"http"}


def test_grace_covers_leaving_the_service_and_running_answers(rendered: Rendered) -> None:
    before_seconds = rendered.gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    answers_seconds = yaml.safe_load(rendered.config_text)["listen"]["drain_seconds"]
    grace_seconds = rendered.pod["spec"]["terminationGracePeriodSeconds"]
    assert grace_seconds == before_seconds + answers_seconds + 60
    assert before_seconds >= 5


def test_long_streams_may_end_by_default(chart: Chart) -> None:
    assert chart.render().pod["spec"]["terminationGracePeriodSeconds"] >= 600


def test_changed_configuration_replaces_the_pods_and_nothing_else_does(chart: Chart) -> None:
    def checksum(*settings: str) -> str:
        return chart.render("minimal", *settings).pod["metadata"]["annotations"]["checksum/config"]

    budgets = [{"account": "org", "window": "monthly", "limit_usd": 5}]
    assert checksum() != checksum(f"config.budgets={json.dumps(budgets)}")
    assert checksum() == checksum("replicaCount=7", "service.port=80")


def test_one_replica_has_no_disruption_budget(chart: Chart) -> None:
    assert chart.render("single").of_kind("PodDisruptionBudget") == []
    budget = chart.render("minimal").one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_rollout_never_has_fewer_pods_than_before(chart: Chart) -> None:
    strategy = chart.render().one("Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_autoscaler_alone_decides_how_many_and_shrinks_slowly(chart: Chart) -> None:
    rendered = chart.render("minimal", "autoscaling.enabled=true")
    scaler = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in rendered.one("Deployment")["spec"]
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert scaler["scaleTargetRef"]["name"] == rendered.one("Deployment")["metadata"]["name"]
    assert scaler["metrics"][0]["containerResource"]["container"] == rendered.gateway["name"]


def test_services_and_monitor_find_the_pods(chart: Chart) -> None:
    rendered = chart.render("minimal", "metrics.serviceMonitor.enabled=true")
    labels = rendered.pod["metadata"]["labels"].items()
    metrics, monitor = rendered.one("Service", "-metrics"), rendered.one("ServiceMonitor")["spec"]
    assert all(service["spec"]["selector"].items() <= labels for service in rendered.of_kind("Service"))
    assert monitor["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= rendered.one("Service")["metadata"]["labels"].items()
    assert monitor["endpoints"] == [
        {"port": metrics["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}
    ]


def test_metrics_are_never_published_with_the_api(chart: Chart) -> None:
    rendered = chart.render("everything")
    assert [port["name"] for port in rendered.one("Service", "acme-fence")["spec"]["ports"]] == ["http"]
    assert rendered.one("Service", "-metrics")["spec"]["clusterIP"] == "None"


def test_network_policy_opens_names_database_and_upstreams_only(chart: Chart) -> None:
    policy = chart.render().one("NetworkPolicy")["spec"]
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy["egress"]]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and ports == [[53], [5432], [443]]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [8080, 9464]
    assert "from" not in policy["ingress"][0] and list(policy["ingress"][1]["from"][0]) == ["namespaceSelector"]


def test_network_policy_takes_the_ports_of_every_database_host(chart: Chart) -> None:
    rules = chart.render("everything").one("NetworkPolicy", "acme-fence")["spec"]["egress"]
    database = next(rule for rule in rules if rule["to"] == [{"ipBlock": {"cidr": "10.20.0.0/24"}}])
    assert [port["port"] for port in database["ports"]] == [5433, 5434]


def test_nobody_named_for_metrics_closes_their_port(chart: Chart) -> None:
    policy = chart.render("minimal", "networkPolicy.metricsFrom=[]").one("NetworkPolicy")["spec"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [8080]


def test_opa_runs_beside_the_gateway_which_asks_it(chart: Chart) -> None:
    rendered = chart.render("minimal", "opa.enabled=true")
    (opa,) = rendered.pod["spec"]["initContainers"]
    assert opa["restartPolicy"] == "Always" and "--addr=127.0.0.1:8181" in opa["args"] and "volumeMounts" not in opa
    policy = yaml.safe_load(rendered.config_text)["policy"]
    assert policy == {"engine": "opa", "url": "http://127.0.0.1:8181"}
    assert "policy" not in yaml.safe_load(chart.render().config_text)


def test_opa_with_policies_of_its_own_is_given_none(chart: Chart) -> None:
    rendered = chart.render("minimal", "opa.enabled=true", 'opa.existingConfigMap="policies"')
    (opa,) = rendered.pod["spec"]["initContainers"]
    assert opa["args"][-1] == "/policies" and opa["volumeMounts"][0]["name"] == "opa-policies"
    assert yaml.safe_load(rendered.config_text)["policy"]["push"] is False
    volumes = {volume["name"]: volume for volume in rendered.pod["spec"]["volumes"]}
    assert volumes["opa-policies"]["configMap"] == {"name": "policies"}


def test_opa_of_the_chart_is_the_one_that_is_tested_against(chart: Chart) -> None:
    pinned = re.search(r"^opa_version=v(.+)$", (ROOT / "scripts" / "opa").read_text(), re.MULTILINE)
    (opa,) = chart.render("minimal", "opa.enabled=true").pod["spec"]["initContainers"]
    assert pinned is not None and opa["image"] == f"docker.io/openpolicyagent/opa:{pinned[1]}-static"


def test_digest_of_an_image_wins_over_its_tag(chart: Chart) -> None:
    digest = "sha256:" + "0" * 64
    rendered = chart.render("minimal", 'image.tag="1.2.3"', f'image.digest="{digest}"')
    assert rendered.gateway["image"] == f"registry.example.com/ringfence@{digest}"
    assert chart.render().gateway["image"] == f"registry.example.com/ringfence:{package_version()}"


def test_rules_and_boards_are_rendered_as_they_are(chart: Chart, tmp_path: Path) -> None:
    copy = chart.copied_to(tmp_path / "chart")
    for name, text in (("rules/example.rules.yaml", RULES), ("dashboards/example.json", BOARD)):
        path = copy.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rendered = copy.render("minimal", "metrics.prometheusRule.enabled=true", "metrics.dashboards.enabled=true")
    assert rendered.one("PrometheusRule", "example-rules")["spec"] == yaml.safe_load(RULES)
    board = rendered.one("ConfigMap", "-example")
    assert board["data"] == {"example.json": BOARD} and board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_without_rules_and_boards_nothing_is_rendered_for_them(chart: Chart, tmp_path: Path) -> None:
    copy = chart.copied_to(tmp_path / "chart")
    for path in [*copy.folder.glob("files/rules/*.yaml"), *copy.folder.glob("files/dashboards/*.json")]:
        path.unlink()
    rendered = copy.render("minimal", "metrics.prometheusRule.enabled=true", "metrics.dashboards.enabled=true")
    assert rendered.of_kind("PrometheusRule") == [] and len(rendered.of_kind("ConfigMap")) == 1


def test_notes_warn_of_what_is_open(chart: Chart) -> None:
    def notes(name: str) -> str:
        return chart.run("install", "r", chart.folder, "--values", chart.values(name), "--dry-run=client")

    assert notes("single").count("WARNING:") == 4 and "WARNING:" not in notes("everything")
