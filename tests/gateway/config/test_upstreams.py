"""Keys of upstreams and routes: what each backend takes, needs and refuses."""

from pathlib import Path

import pytest

from gateway.config import BreakerConfig, Config, ConfigInvalid, Route, UpstreamConfig, parse_config
from gateway.config.backends import BACKENDS

ENVIRON = {"KEY": "sk-ant-0123456789", "REGION": "eu-west-1/../x"}
NEEDED = {
    "anthropic": 'api_key: "${KEY}"',
    "aws": "region: us-east-1, workspace: wrkspc_01AbC",
    "bedrock": "region: us-east-1",
    "foundry": "resource: acme-models",
    "simulated": "",
    "vertex": "region: global, project: acme-prod",
}
"""The least that an upstream of these backends must say without a warning; of others, their needed keys and a key."""
VALUES = {
    "api_key": '"${KEY}"',
    "base_url": '"https://models.acme.example"',
    "bearer": '"${KEY}"',
    "profile": "us",
    "project": "acme-prod",
    "region": "eu-west-1",
    "resource": "acme-models",
    "scenario": "demo",
    "workspace": "wrkspc_1",
}


def load(row: str, rest: str = "") -> Config:
    return parse_config(f"upstreams: [{{id: a, {row}}}]\n{rest}", Path("/c.yaml"), ENVIRON)


def upstream(row: str) -> UpstreamConfig:
    return load(row).upstreams[0]


def problems(row: str, rest: str = "") -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        load(row, rest)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def least(backend: str) -> str:
    keys = [*BACKENDS[backend].required, *(key for key in ("api_key",) if key in BACKENDS[backend].keys)]
    return NEEDED.get(backend, ", ".join(f"{key}: {VALUES[key]}" for key in keys))


def of(backend: str, *more: str) -> str:
    return ", ".join(part for part in (f"backend: {backend}", least(backend), *more) if part)


def test_keys_of_all_backends_are_those_that_these_tests_know() -> None:
    assert NEEDED.keys() <= BACKENDS.keys()
    assert VALUES.keys() == {key for backend in BACKENDS.values() for key in backend.keys}


@pytest.mark.parametrize("backend", BACKENDS)
def test_least_upstream_of_each_backend_is_read_without_a_warning(backend: str) -> None:
    config = load(of(backend))
    assert (config.warnings, config.upstreams[0].backend) == ((), backend)
    assert config.upstreams[0].base_url == BACKENDS[backend].base_url
    assert backend != "anthropic" or config.upstreams[0].base_url == "https://api.anthropic.com"


@pytest.mark.parametrize(("backend", "key"), [(name, key) for name, row in BACKENDS.items() for key in row.required])
def test_missing_needed_key_is_one_problem(backend: str, key: str) -> None:
    kept = [part for part in least(backend).split(", ") if not part.startswith(key)]
    found = problems(", ".join([f"backend: {backend}", *kept]))
    assert len(found) == 1 and f"upstreams[0] has no {key}, which the {backend} backend needs" in found[0]


@pytest.mark.parametrize(
    ("backend", "key"), [(name, key) for name, row in BACKENDS.items() for key in VALUES if key not in row.keys]
)
def test_key_of_another_backend_is_one_problem(backend: str, key: str) -> None:
    found = problems(of(backend, f"{key}: {VALUES[key]}"))
    assert len(found) == 1 and f"upstreams[0].{key} means nothing to the {backend} backend" in found[0]
    takers = found[0].partition(f"{key} is for ")[2]
    assert takers and backend not in takers.rstrip(")").split(", ")


def test_mistyped_backend_is_one_problem_whatever_keys_it_has() -> None:
    found = problems("backend: bedrok, region: us-east-1, profile: us")
    assert len(found) == 1 and "upstreams[0].backend is 'bedrok' (did you mean bedrock?)" in found[0]


def test_foundry_is_found_by_its_resource_or_by_its_address() -> None:
    assert upstream("backend: foundry, resource: acme").resource == "acme"
    assert upstream("backend: foundry, base_url: 'https://x/anthropic/'").base_url == "https://x/anthropic"
    for row in ("backend: foundry", "backend: foundry, resource: acme, base_url: 'https://x/anthropic'"):
        found = problems(row)
        assert len(found) == 1 and "needs one of resource and base_url" in found[0]


@pytest.mark.parametrize("backend", ["anthropic", "foundry"])
def test_two_credentials_are_a_problem(backend: str) -> None:
    found = problems(f'backend: {backend}, base_url: \'https://x\', api_key: "${{KEY}}", bearer: "${{KEY}}"')
    assert len(found) == 1 and "both api_key and bearer" in found[0]
    assert ENVIRON["KEY"] not in found[0]


@pytest.mark.parametrize(
    ("backend", "key", "value"),
    [
        ("bedrock", "region", "us-east-1.evil.example"),
        ("bedrock", "region", "us-east-1/x"),
        ("bedrock", "region", "us-east-1:8443"),
        ("bedrock", "region", "x@evil"),
        ("bedrock", "region", "${REGION}"),
        ("bedrock", "profile", "us/.."),
        ("vertex", "project", ".."),
        ("vertex", "project", "a/b"),
        ("vertex", "project", "a?b"),
        ("vertex", "region", "global#"),
        ("foundry", "resource", "acme.example"),
        ("foundry", "resource", "-acme"),
        ("aws", "workspace", "wrkspc_1\\r\\nx: y"),
        ("aws", "region", "us east"),
        ("aws", "region", "ü"),
    ],
)
def test_name_that_could_change_host_path_or_header_is_a_problem(backend: str, key: str, value: str) -> None:
    rest = [part for part in least(backend).split(", ") if not part.startswith(key)]
    found = problems(", ".join([f"backend: {backend}", *rest, f'{key}: "{value}"']))
    assert len(found) == 1 and f"upstreams[0].{key} is" in found[0]
    assert ENVIRON["REGION"] not in found[0]


@pytest.mark.parametrize(
    ("backend", "key", "value"),
    [
        ("vertex", "project", "acme.example:prod-1"),
        ("vertex", "region", "europe-west1"),
        ("bedrock", "region", "us-gov-west-1"),
        ("bedrock", "profile", "us-gov"),
        ("aws", "workspace", "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"),
    ],
)
def test_names_as_the_clouds_give_them_are_read(backend: str, key: str, value: str) -> None:
    rest = [part for part in least(backend).split(", ") if not part.startswith(key)]
    config = load(", ".join([f"backend: {backend}", *rest, f"{key}: '{value}'"]))
    assert getattr(config.upstreams[0], key) == value and config.warnings == ()


def test_profile_nobody_knows_is_a_warning() -> None:
    config = load(of("bedrock", "profile: glboal"))
    assert [(row.message, row.suggestion) for row in config.warnings] == [
        ("upstreams[0].profile 'glboal' is no known prefix", "did you mean global?")
    ]


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"


def test_models_may_be_deployment_names_and_arns() -> None:
    models = upstream(of("bedrock", f'models: {{claude-opus-5-5: "{ARN}", claude-haiku-5-5: fast_one}}')).models
    assert dict(models) == {"claude-opus-5-5": ARN, "claude-haiku-5-5": "fast_one"}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ('{"claude-*": x}', "upstreams[0].models.claude-*: 'claude-*' is no model id"),
        ("{claude-opus-5-5: 'a b'}", "upstreams[0].models.claude-opus-5-5 is 'a b'"),
        ("{claude-opus-5-5: 'a?b'}", "upstreams[0].models.claude-opus-5-5 is 'a?b'"),
        ("{claude-opus-5-5: ''}", "upstreams[0].models.claude-opus-5-5 is empty"),
        ("{claude-opus-5-5: [x]}", "must be a single value"),
        ("[x]", "upstreams[0].models must be a mapping"),
    ],
)
def test_model_that_is_none_is_a_problem(models: str, said: str) -> None:
    found = problems(of("bedrock", f"models: {models}"))
    assert len(found) == 1 and said in found[0]


def test_capability_is_a_flag_or_globs_of_models() -> None:
    row = 'capabilities: {web_search: false, system_entries: ["claude-opus-5*"], fast_mode: true}'
    assert dict(upstream(of("vertex", row)).capabilities) == {
        "web_search": False,
        "system_entries": ("claude-opus-5*",),
        "fast_mode": True,
    }


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("no", "is 'no' (true or false)"),
        ('"true"', "is 'true' (true or false)"),
        ("[]", "names no model (write false"),
        ("[a, a]", "names 'a' twice"),
        ("{a: b}", "must be a single value, not a mapping"),
    ],
)
def test_other_capability_is_a_problem(cell: str, said: str) -> None:
    found = problems(of("vertex", f"capabilities: {{web_search: {cell}}}"))
    assert len(found) == 1 and "upstreams[0].capabilities.web_search" in found[0] and said in found[0]


def test_betas_are_kept_dropped_or_renamed() -> None:
    betas = "{context-1m-2025-08-07: drop, claude-code-20250219: keep, a-2025-01-01: b-2026-01-01}"
    assert dict(upstream(of("bedrock", f"betas: {betas}")).betas) == {
        "context-1m-2025-08-07": "drop",
        "claude-code-20250219": "keep",
        "a-2025-01-01": "b-2026-01-01",
    }


@pytest.mark.parametrize(
    ("betas", "said"),
    [
        ("{a-2025-01-01: dropp}", "is 'dropp' (did you mean drop?"),
        ("{a-2025-01-01: Drop}", "is 'Drop' (did you mean drop?"),
        ("{a-2025-01-01: 'b-2026-01-01,c-2026-01-01'}", "is 'b-2026-01-01,c-2026-01-01'"),
        ('{"a, b-2025-01-01": drop}', "'a, b-2025-01-01' is no beta name"),
        ("{a-2025-01-01: false}", "is 'false'"),
    ],
)
def test_beta_that_could_be_misread_is_a_problem(betas: str, said: str) -> None:
    found = problems(of("bedrock", f"betas: {betas}"))
    assert len(found) == 1 and said in found[0]


@pytest.mark.parametrize(("written", "units"), [("0.9", 9000), ("1", 10_000), ("100", 1_000_000), ("0.0001", 1)])
def test_price_multiplier_is_exact_ten_thousandths(written: str, units: int) -> None:
    assert upstream(of("bedrock", f"price_multiplier: {written}")).price_multiplier == units


@pytest.mark.parametrize("written", ["0", "-1", "100.0001", "0.00001", "nan", "1e-9", "x", '"1"'])
def test_other_price_multiplier_is_a_problem(written: str) -> None:
    found = problems(of("bedrock", f"price_multiplier: {written}"))
    assert len(found) == 1 and "upstreams[0].price_multiplier is" in found[0]


def test_places_queue_and_breaker_have_defaults_and_are_read() -> None:
    plain = upstream(of("bedrock"))
    assert (plain.concurrent_max, plain.queue_seconds, plain.price_multiplier) == (None, 30.0, None)
    assert plain.breaker == BreakerConfig(failures=5, open_seconds=15.0)
    row = "concurrent_max: 50, queue_seconds: 2.5, breaker: {failures: 2, open_seconds: 60}"
    full = upstream(of("bedrock", row))
    assert (full.concurrent_max, full.queue_seconds) == (50, 2.5)
    assert full.breaker == BreakerConfig(failures=2, open_seconds=60.0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("concurrent_max: 0", "upstreams[0].concurrent_max is '0'"),
        ("concurrent_max: 10001", "upstreams[0].concurrent_max is '10001'"),
        ("concurrent_max: 5, queue_seconds: 0", "upstreams[0].queue_seconds is '0'"),
        ("breaker: {failures: 0}", "upstreams[0].breaker.failures is '0'"),
        ("breaker: {open_seconds: 0}", "upstreams[0].breaker.open_seconds is '0'"),
        ("breaker: {failure: 3}", "unknown key upstreams[0].breaker.failure (did you mean failures?)"),
        ("breaker: off", "upstreams[0].breaker must be a mapping"),
        ("weight: 3", "unknown key upstreams[0].weight"),
    ],
)
def test_limit_out_of_range_is_a_problem(row: str, said: str) -> None:
    found = problems(of("bedrock", row))
    assert len(found) == 1 and said in found[0]


def test_queue_that_nothing_fills_is_a_warning() -> None:
    warnings = load(of("bedrock", "queue_seconds: 5")).warnings
    assert len(warnings) == 1 and "has no effect without concurrent_max" in warnings[0].message


def test_anthropic_upstream_is_read_whole() -> None:
    found = upstream('backend: anthropic, api_key: "${KEY}", headers: {x-extra: "a b"}')
    assert found.headers == (("x-extra", "a b"),)
    assert found.api_key is not None and found.api_key.reveal() == ENVIRON["KEY"]
    assert (found.connect_timeout_seconds, found.read_timeout_seconds) == (10.0, 600.0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("backend: openai", "upstreams[0].backend is 'openai'"),
        ("base_url: 'https://x'", "upstreams[0] has no backend"),
        ('backend: anthropic, api_key: "${KEY}", base_url: "ftp://x"', "not a usable URL"),
        ('backend: anthropic, api_key: "${KEY}", base_url: "https://u:p@x"', "not a usable URL"),
        ('backend: anthropic, api_key: "${KEY}", base_url: "https://x?y=1"', "not a usable URL"),
        ('backend: anthropic, api_key: "${KEY}", base_url: "https://x:99999"', "is not a URL"),
        ('backend: anthropic, api_key: "${KEY}", base_url: "https://[x"', "is not a URL"),
        ('backend: anthropic, api_key: "${KEY}", headers: {"x y": z}', "not a header name"),
        ('backend: anthropic, api_key: "${KEY}", headers: {x: "a\\nb"}', "that a header cannot carry"),
        ('backend: anthropic, api_key: "${KEY}", read_timeout_seconds: 0', "read_timeout_seconds is '0'"),
        ("backend: simulated, scenario: /no/such.yaml", "/no/such.yaml is not a file"),
    ],
)
def test_faulty_upstream_is_a_problem_without_its_secret(row: str, said: str) -> None:
    found = problems(row)
    assert len(found) == 1 and said in found[0]
    assert ENVIRON["KEY"] not in found[0]


def test_upstream_without_credential_or_encryption_is_a_warning() -> None:
    config = load("backend: anthropic, base_url: 'http://models.example.com/x/'")
    assert [w.message.split(":")[0] for w in config.warnings] == [
        "upstreams[0].base_url is not encrypted",
        "upstreams[0] has no credential",
    ]
    assert config.upstreams[0].base_url == "http://models.example.com/x"


TWO = "backend: simulated}, {id: b, backend: simulated"


def test_route_is_read_whole() -> None:
    rest = "routes: [{models: ['claude-*'], upstreams: [b, a], weights: {a: 3}, principals: ['team:x', 'tag:path=ci']}]"
    route = load(TWO, rest).routes[0]
    assert route == Route(("claude-*",), ("b", "a"), {"a": 3}, ("team:x", "tag:path=ci"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("weights: {c: 1}", "routes[0].weights names 'c', which is not among its upstreams"),
        ("weights: {a: 0}", "routes[0].weights.a is '0'"),
        ("weights: {a: 1001}", "routes[0].weights.a is '1001'"),
        ("weights: {a: 0.5}", "routes[0].weights.a is '0.5'"),
        ("weights: [a]", "routes[0].weights must be a mapping"),
        ("principals: []", "routes[0].principals names nobody"),
        ("principals: ['team']", "'team' is no principal"),
        ("principals: ['team:']", "'team:' is no principal"),
        ("principals: ['session:s']", "'session:s' is no principal"),
        ("principals: ['tag:path']", "'tag:path' is no principal"),
        ("principals: ['tag:=ci']", "'tag:=ci' is no principal"),
        ("principals: ['user:a', 'user:a']", "names 'user:a' twice"),
        ("principals: 'user:a'", "routes[0].principals must be a list"),
        ("principal: ['user:a']", "unknown key routes[0].principal (did you mean principals?)"),
    ],
)
def test_faulty_route_is_one_problem(more: str, said: str) -> None:
    found = problems(TWO, f"routes: [{{models: ['*'], upstreams: [a, b], {more}}}]")
    assert len(found) == 1 and said in found[0]
