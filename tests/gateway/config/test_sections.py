"""Keys, defaults and limits of each section."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigInvalid, Listen, Route, parse_config
from gateway.config.model import LOOP_FUSES
from gateway.config.sections import SECRET_CHARS_MIN

ENVIRON = {"ALICE": "alice-secret-0123456789", "KEY": "sk-ant-0123456789"}
UPSTREAM = "upstreams: [{id: sim, backend: simulated}]\n"


def load(text: str, folder: Path = Path("/")) -> Config:
    return parse_config(UPSTREAM + text, folder / "ringfence.yaml", ENVIRON)


def problems(text: str, folder: Path = Path("/")) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        load(text, folder)
    return [f"{problem.message} ({problem.suggestion})" for problem in raised.value.problems]


def test_smallest_configuration_gets_every_default() -> None:
    config = load("")
    assert (config.listen, config.metrics) == (Listen("127.0.0.1", 8080), Listen("127.0.0.1", 9464))
    assert config.routes == (Route(("*",), ("sim",)),)
    assert config.store.url == "sqlite:////ringfence.db" and config.audit.path == "stdout"
    assert (config.budgets, dict(config.fuses.agent), config.warnings) == ((), LOOP_FUSES, ())


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "prices.yaml").touch()
    text = "policy: {path: policies}\naudit: {path: audit.log}\nprices: {path: prices.yaml}\nstore: {url: 'sqlite:///m.db'}"
    config = load(text, tmp_path)
    assert config.policy.path == tmp_path / "policies" and config.prices.path == tmp_path / "prices.yaml"
    assert config.audit.path == str(tmp_path / "audit.log") and config.store.url == f"sqlite:///{tmp_path}/m.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: {port: 65536}", "listen.port is '65536'"),
        ("listen: {drain_seconds: 0}", "listen.drain_seconds is '0'"),
        ("listen: {drain_seconds: 86401}", "listen.drain_seconds is '86401'"),
        ("metrics: {drain_seconds: 5}", "unknown key metrics.drain_seconds"),
        ("store: {url: 'mysql://db/x'}", "store.url names no database that is known"),
        ("store: {url: 'sqlite:///m.db', on_failure: open}", "store.on_failure is for Postgres"),
        ("store: {journal: spare}", "store.journal is for Postgres"),
        ("store: {url: 'postgresql://db/x', on_failure: opne}", "did you mean open?"),
        ("store: {uri: 'postgresql://db/x'}", "did you mean url?"),
        ("org: {time_zone: Europe/Berln}", "org.time_zone is 'Europe/Berln' (a name of the time zone database"),
        ("org: {time_zone: /etc/passwd}", "org.time_zone is '/etc/passwd'"),
        ("org: {time_zone: ../x}", "org.time_zone is '../x'"),
        ("store: {url: 'sqlite:///no/such/m.db'}", "the folder /no/such does not exist"),
        ("org: {teams: [{users: [a]}]}", "org.teams[0] has no id"),
        ("org: {id: 'a b'}", "org.id is 'a b'"),
        ("audit: {path: /no/such/audit.log}", "the folder /no/such does not exist"),
        ("audit: {rotate_bytes: 1}", "audit.rotate_bytes is '1'"),
        ("prices: {path: /no/such.yaml}", "/no/such.yaml is not a file"),
        ("aliases: {opus: [a]}", "aliases.opus must be a single value"),
    ],
)
def test_faulty_section_is_a_problem_that_names_it(text: str, said: str) -> None:
    found = problems(text)
    assert len(found) == 1 and said in found[0]


def test_store_in_a_file_is_closed_on_failure_and_has_no_journal() -> None:
    store = load("").store
    assert (store.on_failure, store.journal) == ("closed", None)
    assert "url" not in repr(store)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_store_in_postgres_is_read_whole(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://ringfence:pass-word@db.internal/ringfence?sslmode=verify-full"
    config = load(f"store: {{url: '{url}', on_failure: open, journal: spare}}", tmp_path)
    assert (config.store.url, config.store.on_failure) == (url, "open")
    assert config.store.journal == tmp_path / "spare" and "pass-word" not in repr(config)
    plain = load(f"store: {{url: '{url}'}}", tmp_path).store
    assert (plain.on_failure, plain.journal) == ("closed", tmp_path / "ringfence-journal")


def test_password_in_a_mistyped_store_url_is_not_shown() -> None:
    (found,) = problems("store: {url: 'postgrsql://ringfence:pass-word@db/ringfence'}")
    assert "postgresql://user@host/database" in found and "pass-word" not in found


@pytest.mark.parametrize(("text", "key"), [("", "UTC"), ("org: {time_zone: UTC}", "UTC")])
def test_windows_begin_in_utc_unless_a_time_zone_is_named(text: str, key: str) -> None:
    assert str(load(text).org.time_zone) == key
    assert str(load("org: {time_zone: America/New_York}").org.time_zone) == "America/New_York"


def test_running_answers_are_waited_for_as_long_as_is_said() -> None:
    assert load("").listen.drain_seconds == 30
    assert load("listen: {drain_seconds: 600.5}").listen.drain_seconds == 600.5


def test_rule_may_be_off_although_yaml_has_a_word_for_it() -> None:
    policy = load("policy: {rules: {shell/unclear: off, files/secrets: shadow}, settings: {a: {b: [1]}}}").policy
    assert dict(policy.rules) == {"shell/unclear": "off", "files/secrets": "shadow"}
    assert dict(policy.settings) == {"a": {"b": [1]}}


CREDENTIAL = "identity: {credentials: [{id: laptop, user: alice, %s}]}"


def test_credential_is_read_whole() -> None:
    text = CREDENTIAL % 'secret: "${ALICE}", operator: true, groups: [admins], tags: {cost-center: 0042}'
    credential = load(text).identity.credentials[0]
    assert (credential.id, credential.user, credential.team) == ("laptop", "alice", None)
    assert credential.secret.reveal() == ENVIRON["ALICE"] and credential.operator
    assert credential.groups == ("admins",) and dict(credential.tags) == {"cost-center": "0042"}


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("secret: short", "shorter than 16 characters"),
        ('secret: "${BOB}"', "the environment variable BOB is not set"),
        ("operator: false", "has no secret"),
        ("secret: ~", "has no secret"),
    ],
)
def test_unusable_secret_is_one_problem(secret: str, said: str) -> None:
    found = problems(CREDENTIAL % secret)
    assert len(found) == 1 and said in found[0]
    assert "short)" not in found[0]


def test_secret_of_the_least_length_is_enough() -> None:
    secret = "x" * SECRET_CHARS_MIN
    assert load(CREDENTIAL % f"secret: {secret}").identity.credentials[0].secret.reveal() == secret
    assert len(problems(CREDENTIAL % f"secret: {secret[1:]}")) == 1
