"""Who shows a secret: configuration and store."""

from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from gateway.config import Config, ConfigInvalid, CredentialConfig, Identity, Org, Secret, Team
from gateway.core.decisions.decision import Principal
from gateway.identity.credentials import SECRET_CHARS_MAX, Authenticator, StoredCredentials
from gateway.stores.credentials import CredentialRow

ALICE, BOB, CI = "alice-secret-0123", "bob-secret-012345", "rf_ci-secret-0123"


def config(*credentials: CredentialConfig) -> Config:
    org = Org("acme", (Team("platform", ("alice", "bob")),))
    return Config(upstreams=(), routes=(), org=org, identity=Identity(credentials))


def written(id: str, secret: str, user: str, **more: object) -> CredentialConfig:
    return CredentialConfig(id, Secret(secret), user, **more)  # type: ignore[arg-type]


def row(id: str, secret: str, user: str = "bob", revoked_ms: int | None = None) -> CredentialRow:
    return CredentialRow(id, user, None, sha256(secret.encode()).digest(), 1, revoked_ms, tags={"from": "store"})


@dataclass
class Stored:
    """A store that counts how often its rows are read."""

    rows: list[CredentialRow] = field(default_factory=list[CredentialRow])
    version: int = 1
    reads: int = 0

    async def read(self) -> list[CredentialRow]:
        self.reads += 1
        return self.rows

    async def current(self) -> int:
        return self.version

    def port(self) -> StoredCredentials:
        return StoredCredentials(self.current, self.read)


async def refreshed(config: Config, stored: Stored) -> Authenticator:
    """One that has read the store once, without a problem."""
    found = Authenticator(config, stored.port())
    assert await found.refresh() == ()
    return found


def test_known_secret_gives_the_whole_principal() -> None:
    credential = written("laptop", ALICE, "alice", operator=True, groups=("admins",), tags={"cost": "42"})
    principal = Authenticator(config(credential)).authenticate(ALICE)
    assert principal == Principal(
        org="acme",
        team="platform",
        user="alice",
        credential="laptop",
        groups=("admins",),
        tags={"cost": "42"},
        operator=True,
    )


async def test_principals_are_those_who_could_connect_and_teams_those_of_the_configuration() -> None:
    stored = Stored([row("ci", CI), row("old", BOB, revoked_ms=2)])
    known = await refreshed(config(written("laptop", ALICE, "alice")), stored)
    assert {(each.user, each.credential, each.team) for each in known.principals()} == {
        ("alice", "laptop", "platform"),
        ("bob", "ci", "platform"),
    }
    assert known.teams == {"alice": "platform", "bob": "platform"}


def test_team_of_the_credential_wins_over_the_user_s() -> None:
    found = Authenticator(config(written("ci", CI, "alice", team="web"), written("x", BOB, "carol")))
    ci, carol = found.authenticate(CI), found.authenticate(BOB)
    assert ci is not None and ci.team == "web"
    assert carol is not None and carol.team is None


@pytest.mark.parametrize(
    "secret", ["", "wrong", ALICE + "x", ALICE[:-1], ALICE.upper(), "\ud800", "\N{GRINNING FACE}", "x" * 1_000_000]
)
def test_unknown_secret_is_nobody(secret: str) -> None:
    assert Authenticator(config(written("laptop", ALICE, "alice"))).authenticate(secret) is None


def test_secret_longer_than_the_limit_is_nobody_even_when_configured() -> None:
    secret = "x" * (SECRET_CHARS_MAX + 1)
    assert Authenticator(config(written("laptop", secret, "alice"))).authenticate(secret) is None
    assert Authenticator(config(written("laptop", secret[1:], "alice"))).authenticate(secret[1:]) is not None


def test_same_secret_twice_is_refused_at_load() -> None:
    with pytest.raises(ConfigInvalid, match="laptop and phone have the same secret") as raised:
        Authenticator(config(written("laptop", ALICE, "alice"), written("phone", ALICE, "alice")))
    assert ALICE not in str(raised.value)


def test_store_is_not_read_before_the_first_refresh() -> None:
    stored = Stored([row("ci", CI)])
    found = Authenticator(config(written("laptop", ALICE, "alice")), stored.port())
    assert (stored.reads, len(found)) == (0, 1)
    assert found.authenticate(ALICE) is not None and found.authenticate(CI) is None


@pytest.mark.parametrize(
    ("twin", "said"),
    [(row("ci", ALICE), "laptop and ci have the same secret"), (row("laptop", CI), "laptop exists twice")],
)
async def test_same_id_or_secret_in_file_and_store_is_told_and_the_one_of_the_file_holds(
    twin: CredentialRow, said: str
) -> None:
    found = Authenticator(config(written("laptop", ALICE, "alice")), Stored([twin, row("new", BOB)]).port())
    (problem,) = await found.refresh()
    assert said in problem.message and ALICE not in str(problem)
    assert [each.credential for each in found.principals()] == ["laptop", "new"]


async def test_revoked_row_is_nobody_and_does_not_conflict() -> None:
    stored = Stored([row("laptop", ALICE, revoked_ms=5), row("ci", CI)])
    found = await refreshed(config(written("laptop", ALICE, "alice")), stored)
    alice, ci = found.authenticate(ALICE), found.authenticate(CI)
    assert alice is not None and alice.user == "alice"
    assert ci is not None and (ci.user, ci.team, ci.tags) == ("bob", "platform", {"from": "store"})


async def test_refresh_takes_over_created_and_revoked_rows() -> None:
    stored = Stored([row("ci", CI)])
    found = await refreshed(config(), stored)
    stored.rows, stored.version = [row("ci", CI, revoked_ms=9), row("new", BOB)], 2
    assert found.authenticate(CI) is not None and found.authenticate(BOB) is None
    assert await found.refresh() == ()
    assert found.authenticate(CI) is None and found.authenticate(BOB) is not None


async def test_refresh_without_a_new_version_reads_nothing() -> None:
    stored = Stored([row("ci", CI)])
    found = await refreshed(config(), stored)
    assert await found.refresh() == () and stored.reads == 1
    assert await Authenticator(config()).refresh() == ()


async def test_refresh_leaves_a_conflicting_row_out_and_still_revokes() -> None:
    stored = Stored([row("ci", CI)])
    found = await refreshed(config(written("laptop", ALICE, "alice")), stored)
    stored.rows, stored.version = [row("ci", CI, revoked_ms=9), row("twin", ALICE)], 2
    problems = await found.refresh()
    assert len(problems) == 1 and "laptop and twin" in problems[0].message
    alice = found.authenticate(ALICE)
    assert found.authenticate(CI) is None and alice is not None and alice.credential == "laptop"


async def test_refresh_that_cannot_read_keeps_who_was_known_and_tries_again() -> None:
    stored = Stored([row("ci", CI)])

    async def fail() -> list[CredentialRow]:
        raise OSError("disk away")

    readers = [stored.read, fail, stored.read]
    found = Authenticator(config(), StoredCredentials(stored.current, lambda: readers.pop(0)()))
    await found.refresh()
    stored.rows, stored.version = [row("new", BOB)], 2
    with pytest.raises(OSError, match="disk away"):
        await found.refresh()
    assert found.authenticate(CI) is not None
    await found.refresh()
    assert found.authenticate(CI) is None and found.authenticate(BOB) is not None
