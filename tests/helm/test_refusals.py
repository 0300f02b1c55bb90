"""What the chart does not render, and the one sentence that says why."""

import json

import pytest

from tests.helm.chart import Chart

MISSING = {
    'image.repository=""': "image.repository is empty: name the image",
    'store.url=""': "store.url is empty: name your Postgres",
    'store.url="postgresql://ringfence@db/ringfence?sslmode=verify-full"': "store.url verifies the server without",
    'store.existingSecret=""': "store.existingSecret is empty: name the Secret",
    "config.upstreams=[]": "config.upstreams is empty: name at least one",
    "config.identity.credentials=[]": "config.identity.credentials is empty: the gateway serves a network only",
    "existingSecrets=[]": "existingSecrets is empty: name the Secrets whose keys",
    "ingress.enabled=true": "ingress.hosts is empty: name the host",
}
MISPLACED = {
    'config.listen={"port": 9000}': "config.listen is the chart's own: use the values service and drain.",
    'config.metrics={"port": 9000}': "config.metrics is the chart's own: use the values metrics and networkPolicy.",
    'config.store={"url": "sqlite:///x.db"}': "config.store is the chart's own: use the values store.",
    'store.url="sqlite:///ringfence.db"': "store.url is no Postgres",
    'opa={"enabled": true},config.policy={"engine": "embedded"}': (
        "config.policy.engine is the chart's own with opa.enabled: use the values opa."
    ),
    'opa={"enabled": true, "existingConfigMap": "p"},config.policy={"mode": "shadow"}': (
        "config.policy.mode holds nothing with opa.existingConfigMap: say it in those policies."
    ),
    'config.policy.rules={"shell/unclear": false}': (
        'config.policy.rules.shell/unclear is read as false: put the word in quotes, "off".'
    ),
}
SECRET = "hunter2-hunter2-hunter2"
EXPOSED = {
    f'store.url="postgresql://ringfence:{SECRET}@db/ringfence"': "store.url contains a password",
    f'store.url="postgresql://ringfence@db/r?sslmode=require&password={SECRET}"': "store.url contains a password",
    "config.upstreams=" + json.dumps([{"id": "claude", "backend": "anthropic", "api_key": SECRET}]): (
        "config.upstreams[0].api_key is written out"
    ),
    "config.upstreams=" + json.dumps([{"id": "b", "backend": "bedrock", "region": "us-east-1", "bearer": SECRET}]): (
        "config.upstreams[0].bearer is written out"
    ),
    "config.identity.credentials=" + json.dumps([{"id": "ops", "secret": SECRET, "user": "olga"}]): (
        "config.identity.credentials[0].secret is written out"
    ),
}
UNKNOWN = {
    "replicas=3": "additional properties 'replicas' not allowed",
    'store.password="x"': "additional properties 'password' not allowed",
    "networkPolicy.enable=true": "additional properties 'enable' not allowed",
    'metrics.serviceMonitor.interval="often"': "does not match pattern",
    'replicaCount="two"': "got string, want integer",
    "drain.preStopSeconds=0": "minimum: got 0, want 1",
}


def sentences(refusal: str) -> list[str]:
    """The chart's own words, without what helm writes around them."""
    return [line for line in refusal.splitlines()[1:] if line and not line.startswith("Use --debug")]


@pytest.mark.parametrize("setting", MISSING)
def test_missing_value_is_refused_with_one_sentence(chart: Chart, setting: str) -> None:
    said = sentences(chart.refusal("minimal", setting))
    assert len(said) == 1
    assert MISSING[setting] in said[0]


def test_values_of_the_chart_alone_are_refused_with_everything_missing(chart: Chart) -> None:
    said = sentences(chart.refusal(None))
    assert [sentence.split(" is ")[0] for sentence in said] == [
        "image.repository",
        "store.url",
        "store.existingSecret",
        "config.upstreams",
        "config.identity.credentials",
    ]


@pytest.mark.parametrize("setting", MISPLACED)
def test_value_at_the_wrong_place_is_refused_with_the_right_one(chart: Chart, setting: str) -> None:
    said = sentences(chart.refusal("minimal", setting))
    assert len(said) == 1
    assert MISPLACED[setting] in said[0]


@pytest.mark.parametrize("setting", EXPOSED)
def test_secret_that_is_written_out_is_refused_and_not_shown(chart: Chart, setting: str) -> None:
    refusal = chart.refusal("minimal", setting)
    assert EXPOSED[setting] in refusal
    assert SECRET not in refusal


@pytest.mark.parametrize("setting", UNKNOWN)
def test_value_that_the_schema_does_not_know_is_refused(chart: Chart, setting: str) -> None:
    assert UNKNOWN[setting] in chart.refusal("minimal", setting)


def test_secrets_by_file_and_cloud_credentials_need_no_secret_of_variables(chart: Chart) -> None:
    upstreams = [{"id": "bedrock", "backend": "bedrock", "region": "us-east-1", "profile": "us"}]
    credentials = [{"id": "ops", "secret": "${file:/run/secrets/ops}", "user": "olga", "operator": True}]
    settings = (f"config.upstreams={json.dumps(upstreams)}", f"config.identity.credentials={json.dumps(credentials)}")
    assert "envFrom" not in chart.render("minimal", *settings, "existingSecrets=[]").gateway
