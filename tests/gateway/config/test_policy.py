"""The policy section: engines, sources, the decision log, and every key that would hold nothing."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigInvalid, parse_config
from gateway.config.model import DecisionLog, Policy, PolicyBundle

UPSTREAMS = "upstreams: [{id: sim, backend: simulated}]\n"


def parsed(text: str, folder: Path = Path("/")) -> Config:
    return parse_config(UPSTREAMS + text, folder / "ringfence.yaml", {"TOKEN": "s3cret-token"})


def problems(text: str, folder: Path = Path("/")) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        parsed(text, folder)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def test_without_a_section_the_embedded_engine_decides() -> None:
    policy = parsed("").policy
    assert policy == Policy() and policy.engine == "embedded" and policy.url is None


def test_opa_is_on_loopback_unless_named() -> None:
    assert parsed("policy: {engine: opa}").policy.url == "http://127.0.0.1:8181"
    policy = parsed("policy: {engine: opa, url: 'https://opa.acme.example/', token: '${TOKEN}', timeout_ms: 90}").policy
    assert policy.token is not None and policy.token.reveal() == "s3cret-token"
    assert (policy.url, policy.timeout_ms, policy.push) == ("https://opa.acme.example", 90, True)


def test_checkout_and_bundle_are_read_whole(tmp_path: Path) -> None:
    git = parsed("policy: {bundle: {git: ., ref: release/v1.2, folder: rego/policies, poll_seconds: 5}}", tmp_path)
    expected = PolicyBundle(git=tmp_path, ref="release/v1.2", folder="rego/policies", poll_seconds=5)
    assert git.policy.bundle == expected
    served = parsed("policy: {bundle: {url: 'https://b.acme.example/p.tar.gz', token: '${TOKEN}'}}").policy.bundle
    assert served is not None and served.url == "https://b.acme.example/p.tar.gz" and served.poll_seconds == 30
    assert "s3cret" not in repr(served)


def test_decision_log_is_read_whole(tmp_path: Path) -> None:
    text = "policy: {decision_log: {path: decisions.jsonl, labels: {site: berlin}, erase: [/input/action]}}"
    log = parsed(text, tmp_path).policy.decision_log
    assert log == DecisionLog(tmp_path / "decisions.jsonl", labels={"site": "berlin"}, erase=("/input/action",))
    kept = parsed("policy: {decision_log: {url: 'https://logs.acme.example'}}").policy.decision_log
    assert kept is not None and kept.erase == ("/input/action/input",)


def test_nothing_to_erase_can_be_said() -> None:
    log = parsed("policy: {decision_log: {url: 'https://logs.acme.example', erase: []}}").policy.decision_log
    assert log is not None and log.erase == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy: {engine: opaque}", "policy.engine is 'opaque' (did you mean opa?)"),
        ("policy: {url: 'http://127.0.0.1:8181'}", "policy.url goes with engine: opa"),
        ("policy: {timeout_ms: 100}", "policy.timeout_ms goes with engine: opa"),
        ("policy: {push: false}", "policy.push goes with engine: opa"),
        ("policy: {engine: opa, timeout_ms: 0}", "policy.timeout_ms is '0'"),
        ("policy: {engine: opa, url: opa.acme.example}", "policy.url is not a usable URL"),
        ("policy: {engine: opa, url: 'http://u:p@127.0.0.1'}", "policy.url is not a usable URL"),
        ("policy: {engine: opa, url: 'http://127.0.0.1:99999'}", "policy.url is not a usable URL"),
        ("policy: {engine: opa, url: 'http://127.0.0.1:8181/v1'}", "policy.url has a path"),
        ("policy: {engine: opa, push: false, mode: shadow}", "policy.mode holds nothing with push: false"),
        ("policy: {engine: opa, push: false, settings: {spawn: {depth: 1}}}", "policy.settings holds nothing"),
        ("policy: {engine: opa, push: false, rules: {a/b: 'off'}}", "policy.rules holds nothing"),
        ("policy: {engine: opa, push: false, path: /}", "policy.path holds nothing"),
        ("policy: {path: /, bundle: {git: /}}", "policy.path and policy.bundle name two sets"),
        ("policy: {bundle: {}}", "policy.bundle must have one of url and git"),
        ("policy: {bundle: {git: /, url: 'https://b.acme.example/p'}}", "policy.bundle must have one of url and git"),
        ("policy: {bundle: {git: /no/such}}", "/no/such is not a folder"),
        ("policy: {bundle: {git: /, token: x}}", "policy.bundle.token goes with url"),
        ("policy: {bundle: {url: 'https://b.acme.example/p', ref: main}}", "policy.bundle.ref goes with git"),
        ("policy: {bundle: {git: /, ref: '--upload-pack=x'}}", "policy.bundle.ref is '--upload-pack=x'"),
        ("policy: {bundle: {git: /, ref: 'a..b'}}", "policy.bundle.ref is 'a..b'"),
        ("policy: {bundle: {git: /, folder: ../x}}", "policy.bundle.folder is '../x'"),
        ("policy: {bundle: {git: /, poll_seconds: 0}}", "policy.bundle.poll_seconds is '0'"),
        ("policy: {decision_log: {}}", "policy.decision_log must have one of path and url"),
        ("policy: {decision_log: {path: /no/such/log}}", "the folder /no/such does not exist"),
        ("policy: {decision_log: {path: /x, erase: [input]}}", "a path such as /input/action/input"),
        ("policy: {decision_log: {path: /x, file: y}}", "unknown key policy.decision_log.file"),
        ("policy: {mode: shdow}", "did you mean shadow?"),
        ("policy: {rules: {shell/unclear: warn}}", "policy.rules.shell/unclear is 'warn'"),
        ("policy: {settings: {modes: {a/b: off}}}", "write policy.rules"),
        ("policy: {path: /no/such}", "/no/such is not a folder"),
    ],
)
def test_faulty_policy_section_is_a_problem_that_names_it(text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text)), problems(text)


def test_decisions_that_cross_a_network_in_clear_are_warned_of() -> None:
    config = parsed("policy: {engine: opa, url: 'http://opa.acme.example:8181'}")
    assert "policy.url is not encrypted" in config.warnings[0].message
    assert parsed("policy: {engine: opa, url: 'http://localhost:8181'}").warnings == ()
