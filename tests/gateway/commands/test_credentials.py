"""Credentials in the store, by the command."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.credentials import NewCredential, create_credential, list_credentials, revoke_credential
from gateway.commands.output import EXIT_USAGE, CommandFailed
from gateway.config import Config, CredentialConfig, Identity, Org, Secret, Store, Team
from gateway.identity.credentials import Authenticator, StoredCredentials
from gateway.stores.credentials import CredentialRow, CredentialRows

WRITTEN = "hunter2-hunter2-hunter2"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        upstreams=(),
        routes=(),
        store=Store(f"sqlite:///{tmp_path}/ringfence.db"),
        org=Org("acme", (Team("platform", ("alice",)),)),
        identity=Identity((CredentialConfig("laptop", Secret(WRITTEN), "alice"),)),
    )


def created(config: Config, wanted: NewCredential, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    create_credential(config, wanted, as_json=True)
    return json.loads(capsys.readouterr().out)


def rows(config: Config) -> CredentialRows:
    return CredentialRows(Path(config.store.url.removeprefix("sqlite:///")))


def test_created_secret_is_long_shown_once_and_stored_as_a_hash(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    said = created(config, NewCredential("ci", "bob", team="platform", operator=True), capsys)
    secret = said["secret"]
    assert secret.startswith("rf_") and len(secret) == 46
    (row,) = rows(config).list()
    assert row.hash == sha256(secret.encode()).digest() and (row.team, row.operator) == ("platform", True)
    list_credentials(config, as_json=False)
    list_credentials(config, as_json=True)
    assert secret not in capsys.readouterr().out
    stored = b"".join(path.read_bytes() for path in Path(config.store.url.removeprefix("sqlite://")).parent.iterdir())
    assert secret.encode() not in stored


async def test_running_gateway_takes_over_and_drops_the_credential(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows(config)

    async def version() -> int:
        return table.version()

    async def read() -> list[CredentialRow]:
        return table.list()

    known = Authenticator(config, StoredCredentials(version, read))
    assert await known.refresh() == ()
    secret = created(config, NewCredential("ci", "alice"), capsys)["secret"]
    assert await known.refresh() == ()
    principal = known.authenticate(secret)
    assert principal is not None and (principal.credential, principal.team) == ("ci", "platform")
    revoke_credential(config, "ci", as_json=False)
    await known.refresh()
    assert known.authenticate(secret) is None


def test_list_shows_both_sources(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    created(config, NewCredential("ci", "bob"), capsys)
    revoke_credential(config, "ci", as_json=True)
    assert json.loads(capsys.readouterr().out)["revoked_ms"] > 0
    list_credentials(config, as_json=True)
    listed = json.loads(capsys.readouterr().out)["credentials"]
    assert [(row["id"], row["source"]) for row in listed] == [("laptop", "configuration"), ("ci", "store")]
    assert listed[1]["revoked_ms"] is not None and WRITTEN not in str(listed)


@pytest.mark.parametrize("taken", ["laptop", "ci", "old"])
def test_id_that_is_or_was_taken_is_refused(config: Config, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    created(config, NewCredential("ci", "bob"), capsys)
    created(config, NewCredential("old", "bob"), capsys)
    revoke_credential(config, "old", as_json=True)
    with pytest.raises(CommandFailed, match=f"{taken} exists already"):
        create_credential(config, NewCredential(taken, "bob"), as_json=True)
    assert len(rows(config).list()) == 2


@pytest.mark.parametrize(
    "wanted",
    [NewCredential("a b", "bob"), NewCredential("", "bob"), NewCredential("ci", "b\nb"), NewCredential("ci", "b", "x")],
)
def test_unusable_name_is_wrong_usage_and_stores_nothing(config: Config, wanted: NewCredential) -> None:
    with pytest.raises(CommandFailed) as failed:
        create_credential(config, wanted, as_json=False)
    assert failed.value.exit_code == EXIT_USAGE and rows(config).list() == []


@pytest.mark.parametrize(("id", "said"), [("nobody", "does not exist"), ("laptop", "remove it there")])
def test_revoking_what_is_not_in_the_store_says_why(config: Config, id: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        revoke_credential(config, id, as_json=False)
    assert rows(config).list() == []


def test_revoking_twice_keeps_the_first_time(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    created(config, NewCredential("ci", "bob"), capsys)
    revoke_credential(config, "ci", as_json=False)
    first = rows(config).list()[0].revoked_ms
    revoke_credential(config, "ci", as_json=False)
    assert rows(config).list()[0].revoked_ms == first
