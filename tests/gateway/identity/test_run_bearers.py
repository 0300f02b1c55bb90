"""Secrets of runs: whose they are, how they end, and that nothing shows them."""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from gateway.core.decisions.decision import Principal
from gateway.identity.run_bearers import PREFIX, RunBearers
from tests.gateway.runs.gated import ALICE, RUN, SESSION, gated

OLGA = Principal(org="acme", team=None, user="olga", credential="olga-desk", operator=True)


def digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def test_secret_is_its_runs_until_it_is_closed() -> None:
    bearers = RunBearers()
    secret = bearers.open(ALICE, "wf_a")
    found = bearers.find(digest(secret))
    assert found is not None and (found.owner, found.run) == (ALICE, "wf_a")
    assert secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 64
    bearers.close("wf_a")
    bearers.close("wf_a")
    assert bearers.find(digest(secret)) is None


def test_second_secret_of_a_run_ends_the_first_and_no_other() -> None:
    bearers = RunBearers()
    other, first, second = bearers.open(ALICE, "wf_b"), bearers.open(ALICE, "wf_a"), bearers.open(ALICE, "wf_a")
    assert [bearers.find(digest(each)) is not None for each in (other, first, second)] == [True, False, True]


def test_secret_stands_nowhere_in_what_is_kept() -> None:
    bearers = RunBearers()
    secret = bearers.open(ALICE, "wf_a")
    assert secret not in repr(bearers) and secret.removeprefix(PREFIX) not in repr(bearers)


async def test_request_of_the_run_acts_for_its_owner_and_is_charged_to_both(tmp_path: Path) -> None:
    budgets = [{"account": "run", "window": "total", "limit_usd": 5}]
    async with gated(tmp_path, budgets=budgets) as gateway:
        secret = gateway.ground.authenticator.run_bearers.open(ALICE, RUN)
        await gateway.spawn()
        status, _ = await gateway.ask(secret=secret)
        await gateway.serving.quiet()
        (record,) = gateway.serving.audit("request")
        assert (status, record["principal"]["credential"], record["principal"]["team"]) == (
            200,
            "alice-laptop",
            "platform",
        )
        assert gateway.ground.store.spent("user:alice") == gateway.ground.store.spent(f"run:{RUN}") > 0
        sent = (
            b"".join(gateway.upstream.received[0].body for _ in "1")
            + str(gateway.upstream.received[0].headers).encode()
        )
        assert secret.encode() not in sent


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"x-ringfence-run-id": "wf_another"}, "/v1/messages"),
        ({"x-ringfence-run-id": ""}, "/v1/messages"),
        ({"x-ringfence-agent-id": ""}, "/v1/messages"),
        ({"x-ringfence-session-id": ""}, "/v1/messages"),
        ({}, "/ringfence/v1/decisions"),
        ({}, "/ringfence/v1/hooks/Stop"),
        ({}, "/access/v1/evaluation"),
        ({}, "/ringfence/v1/runs"),
    ],
    ids=["other_run", "no_run", "no_agent", "no_session", "decisions", "hooks", "evaluation", "runs"],
)
async def test_secret_is_good_for_model_requests_of_its_run_alone(
    tmp_path: Path, headers: dict[str, str], path: str
) -> None:
    async with gated(tmp_path) as gateway:
        secret = gateway.ground.authenticator.run_bearers.open(ALICE, RUN)
        named = {"x-ringfence-session-id": SESSION, "x-ringfence-agent-id": "a1", "x-ringfence-run-id": RUN}
        sent = {"x-claude-code-session-id": "", "x-api-key": secret} | named | headers
        async with gateway.serving.post(b"{}", path=path, headers=sent) as response:
            assert response.status == 403, await response.text()
            assert f"agents of run {RUN}" in await response.text()
        assert gateway.upstream.received == []


async def test_secret_of_an_operators_run_is_no_operators(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        authenticator = gateway.ground.authenticator
        secret = authenticator.run_bearers.open(OLGA, RUN)
        principal = authenticator.authenticate(secret)
        assert principal is not None and (principal.user, principal.operator) == ("olga", False)
        async with gateway.serving.client.get(
            f"{gateway.serving.url}/ringfence/v1/limits", headers={"x-api-key": secret}
        ) as response:
            assert response.status == 403


async def test_secret_ends_with_the_run_and_with_its_owners_credential(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        authenticator = gateway.ground.authenticator
        lost = msgspec.structs.replace(ALICE, credential="lost-laptop")
        mallory = msgspec.structs.replace(ALICE, user="mallory")
        secrets = [authenticator.run_bearers.open(owner, f"wf_{n}") for n, owner in enumerate((ALICE, lost, mallory))]
        found = [authenticator.authenticate(secret) for secret in secrets]
        assert [None if each is None else each.user for each in found] == ["alice", None, None]
        authenticator.run_bearers.close("wf_0")
        assert authenticator.authenticate(secrets[0]) is None and authenticator.run_of(secrets[0]) is None
        status, _ = await gateway.ask(secret=secrets[0])
        assert status == 401


async def test_tags_of_the_launch_stay_and_the_operators_word_wins(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        tagged = ALICE.tagged("path", "nightly")
        found = gateway.ground.authenticator.current(tagged)
        assert found is not None and (found.tags, found.team) == ({"path": "nightly"}, "platform")
