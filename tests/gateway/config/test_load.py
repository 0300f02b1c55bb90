"""From file to Config; what sections say of each other."""

import json
import re
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config.load import ConfigInvalid, known_features, load_config, parse_config

ENVIRON = {"ALICE": "alice-secret-0123456789", "BOB": "bob-secret-0123456789ab"}
BASE = """\
org: {id: acme, teams: [{id: platform, users: [alice, bob]}]}
identity:
  credentials:
    - {id: alice-laptop, secret: "${ALICE}", user: alice}
    - {id: bob-ci, secret: "${BOB}", user: bob}
upstreams: [{id: sim, backend: simulated}, {id: spare, backend: simulated}]
"""


def load(text: str) -> Config:
    return parse_config(text, Path("/etc/ringfence.yaml"), ENVIRON)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        load(text)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def test_json_is_read_as_yaml() -> None:
    document = {"upstreams": [{"id": "sim", "backend": "simulated"}], "aliases": {"opus": "claude-opus-5-5"}}
    config = load(json.dumps(document, indent="\t"))
    assert config.upstreams[0].id == "sim" and dict(config.aliases) == {"opus": "claude-opus-5-5"}


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigInvalid) as raised:
        load("listen: {prt: 1}\nbudgets: [{account: org, window: never, limit_usd: x}]\nupstream: []\n")
    found = raised.value.problems
    assert [problem.place.removeprefix("/etc/ringfence.yaml") for problem in found] == [
        ":1:1",
        ":1:10",
        ":2:34",
        ":2:52",
        ":3:1",
    ]
    assert "no upstream is configured" in found[0].message and found[1].suggestion == "did you mean port?"


def test_unreadable_file_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"a: 1\nb: \xff")
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    for name, said in (
        ("missing", "No such file"),
        ("binary", "not UTF-8"),
        ("large", "larger than"),
        (".", "directory"),
    ):
        with pytest.raises(ConfigInvalid) as raised:
            load_config(tmp_path / name, {})
        assert len(raised.value.problems) == 1 and said in raised.value.problems[0].message


def test_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load_config(path, ENVIRON).org.id == "acme"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])
def test_reachable_listener_without_credentials_is_a_problem(host: str) -> None:
    upstream = "upstreams: [{id: sim, backend: simulated}]\n"
    found = problems(upstream + f"listen: {{host: '{host}'}}")
    assert len(found) == 1 and "no credential is configured" in found[0]
    assert load(BASE + f"listen: {{host: '{host}'}}").listen.host == host


def test_two_servers_on_one_port_are_a_problem() -> None:
    assert "both 127.0.0.1:9464" in problems(BASE + "listen: {port: 9464}")[0]
    assert "both 127.0.0.1:9464" in problems(BASE + "listen: {port: 9464, drain_seconds: 60}")[0]
    assert load(BASE + "listen: {port: 0}\nmetrics: {port: 0}").metrics.port == 0


@pytest.mark.parametrize(
    ("replace", "by", "said"),
    [
        ("users: [alice, bob]}", "users: [alice]}, {id: web, users: [alice]}", "user alice is in team platform and"),
        ("users: [alice, bob]}", "users: [alice]}, {id: platform, users: [bob]}", "team platform is configured twice"),
        ("user: bob}", "user: bob, team: platfrom}", "did you mean platform?"),
        ("bob-ci", "alice-laptop", "credential alice-laptop is configured twice"),
        ('"${BOB}"', '"${ALICE}"', "credentials alice-laptop and bob-ci have the same secret"),
        ("id: spare", "id: sim", "upstream sim is configured twice"),
    ],
)
def test_contradiction_is_a_problem(replace: str, by: str, said: str) -> None:
    assert replace in BASE
    found = problems(BASE.replace(replace, by))
    assert len(found) == 1 and said in found[0]
    assert not any(secret in found[0] for secret in ENVIRON.values())


@pytest.mark.parametrize(
    "text",
    [
        "routes: [{models: ['*'], upstreams: ['${ALICE}']}]",
        "routes: [{models: ['*'], upstreams: [sim], principals: ['${ALICE}']}]",
        "routes: [{models: ['*'], upstreams: [sim], principals: ['user:${ALICE}']}]",
        "budgets: [{account: '${ALICE}', window: daily, limit_usd: 1}]",
        "budgets: [{account: 'user:${ALICE}', window: daily, limit_usd: 1}]",
    ],
)
def test_name_that_comes_from_a_variable_is_shown_as_the_reference(text: str) -> None:
    found = problems(BASE + text)
    assert len(found) == 1 and "${ALICE}" in found[0]
    assert ENVIRON["ALICE"] not in found[0]


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ("[{models: ['*'], upstreams: [smi]}]", "unknown upstream 'smi' (did you mean sim?)"),
        ("[{models: [], upstreams: [sim]}]", "routes[0].models names nothing"),
        ("[{models: ['*']}]", "routes[0].upstreams names nothing"),
        ("[]", "routes is empty"),
    ],
)
def test_route_that_leads_nowhere_is_a_problem(routes: str, said: str) -> None:
    found = problems(f"{BASE}routes: {routes}")
    assert len(found) == 1 and said in found[0]


def test_without_routes_every_model_may_go_everywhere() -> None:
    route = load(BASE).routes[0]
    assert (route.models, route.upstreams) == (("*",), ("sim", "spare"))


def test_capability_that_no_table_knows_is_a_problem_at_its_key() -> None:
    text = "upstreams: [{id: sim, backend: simulated, capabilities: {web_serch: false}}]"
    with pytest.raises(ConfigInvalid) as raised:
        load(text)
    problem = raised.value.problems[0]
    assert len(raised.value.problems) == 1 and problem.place.endswith(f":1:{text.index('web_serch') + 1}")
    assert "there is no feature 'web_serch'" in problem.message and problem.suggestion == "did you mean web_search?"


def test_every_feature_of_the_packaged_table_may_be_overridden() -> None:
    cells = ", ".join(f"{feature}: false" for feature in known_features())
    config = load(f"upstreams: [{{id: sim, backend: simulated, capabilities: {{{cells}}}}}]")
    assert len(known_features()) > 10
    assert tuple(config.upstreams[0].capabilities) == known_features()


def route(*principals: str) -> str:
    return f"{BASE}routes: [{{models: ['*'], upstreams: [sim], principals: {json.dumps(principals)}}}]"


@pytest.mark.parametrize(
    "principal",
    ["team:platform", "user:bob", "credential:bob-ci", "group:nobody-lists-these", "tag:path=ci", "tag:a=b=c:d"],
)
def test_route_of_a_known_principal_is_read(principal: str) -> None:
    config = load(route(principal))
    assert (config.routes[0].principals, config.warnings) == ((principal,), ())


@pytest.mark.parametrize(
    ("principal", "said"),
    [
        ("team:platfrom", "routes[0].principals[1] 'team:platfrom' matches nobody (did you mean team:platform?)"),
        ("user:bbo", "did you mean user:bob?"),
        ("user:zzz", "'user:zzz' matches nobody (add the user to org.teams)"),
        ("credential:bob-ic", "did you mean credential:bob-ci?"),
    ],
)
def test_route_of_nobody_is_a_problem(principal: str, said: str) -> None:
    found = problems(route("user:alice", principal))
    assert len(found) == 1 and said in found[0]


def test_route_of_a_credential_that_may_be_in_the_store_is_a_warning() -> None:
    assert "no configured credential" in load(route("credential:zzz")).warnings[0].message


def test_principals_are_not_judged_where_all_of_them_are_in_the_store() -> None:
    text = "upstreams: [{id: sim, backend: simulated}]\n" + route("team:web", "user:eve")[len(BASE) :]
    config = load(text)
    assert (config.routes[0].principals, config.warnings) == (("team:web", "user:eve"), ())


ROOT = Path(__file__).resolve().parents[3]
KEYS = {"ANTHROPIC_API_KEY": "fake-key-0123456789"}
PEOPLE = """\
org: {id: acme, teams: [{id: platform, users: [alice, bob]}]}
identity: {credentials: [{id: ci, secret: "${ALICE}", user: build-bot}]}
upstreams: [{id: api, backend: anthropic, api_key: "${ALICE}"}, {id: bedrock-us, backend: bedrock, region: us-east-1}]
"""


def test_example_configuration_is_in_order() -> None:
    config = load_config(ROOT / "ringfence.example.yaml", KEYS)
    assert (config.warnings, [upstream.backend for upstream in config.upstreams]) == ((), ["anthropic"])


def test_second_upstream_of_the_example_is_in_order_when_it_is_taken_in() -> None:
    example = (ROOT / "ringfence.example.yaml").read_text()
    text = re.sub(r"^  # (- id|  \w)", r"  \1", example, flags=re.MULTILINE)
    text = text.replace("upstreams: [claude]}", "upstreams: [claude, bedrock-us]}")
    config = parse_config(text, ROOT / "ringfence.example.yaml", KEYS)
    assert [upstream.backend for upstream in config.upstreams] == ["anthropic", "bedrock"]
    assert (config.warnings, config.routes[0].upstreams) == ((), ("claude", "bedrock-us"))


def test_budgets_of_the_documentation_are_in_order() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    section = page.partition("## Budgets")[2].partition("\n## ")[0]
    blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    configs = [load(f"{PEOPLE}{block}") for block in blocks]
    assert len(blocks) == 2 and sum(len(config.budgets) for config in configs) > 10
    assert all(config.warnings == () for config in configs)


def test_upstreams_of_the_documentation_are_in_order() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    section = page.partition("## Upstreams and routes")[2].partition("## Policy")[0]
    blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    configs = [parse_config(block, ROOT / "ringfence.yaml", KEYS) for block in blocks]
    assert len(blocks) == 2
    assert all(config.warnings == () for config in configs)


@pytest.mark.parametrize(("models", "warned"), [('["*"]', 1), ('["claude-*"]', 0)])
def test_price_for_every_model_of_a_cloud_that_is_routed_whole_is_a_warning(models: str, warned: int) -> None:
    cloud = "upstreams: [{id: aws, backend: bedrock, region: us-east-1}]\nprices: {fallback_model: claude-opus-5-5}\n"
    config = load(cloud + f"routes: [{{models: {models}, upstreams: [aws]}}]\n")
    assert [warning.message.partition(" with")[0] for warning in config.warnings] == ["prices.fallback_model"] * warned
