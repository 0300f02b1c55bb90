"""What is put on an OPA server, a real one; and that no decision ever comes from parts of two sets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.core.decisions.decision import Decision
from gateway.errors import GatewayError
from gateway.policy.bundle import Bundle
from gateway.policy.opa import Limits, OpaEngine
from gateway.policy.opaclient import open_server
from gateway.policy.policyset import PolicySet
from gateway.policy.pushing import Pusher, package_of, pushed_modules
from gateway.policy.settings import merge_settings
from gateway.tasks import Tasks
from tests.support.clock import FakeClock
from tests.support.opa import Opa, free_port, opa_server
from tests.support.policies import build_query, small_bundle

INFER = build_query({"kind": "infer"})
RULE = 'package ringfence.rules.test.probe\n\nimport data.ringfence.lib\n\nviolations contains "{0}" if lib.probe_{0}\n'
LIB = "package ringfence.lib\n\nprobe_{0} if input.action.kind\n"
TIMEOUT_MS = 20_000
"""A busy machine is no reason for a denial here."""


def policy_set(name: str = "", **settings: Any) -> PolicySet:
    """A small set; with a name, one more rule of that name that needs a function of that name and denies all."""
    extra = {"rules/test/probe/rule.rego": RULE.format(name), "lib/probe.rego": LIB.format(name)} if name else {}
    merged, problems = merge_settings(small_bundle(), settings)
    assert not problems
    return PolicySet(Bundle({**small_bundle().files, **extra}), merged)


class Gateway:
    """An engine and what keeps its server in step."""

    def __init__(self, engine: OpaEngine, pusher: Pusher) -> None:
        self.engine = engine
        self.push = pusher.push
        self.restore = pusher.restore

    async def decide(self) -> Decision:
        return await self.engine.decide(INFER)

    async def denial(self) -> str:
        """Rule and message of the denial, without what only speaks to people."""
        return (await self.decide()).message.partition(";")[0]


@asynccontextmanager
async def gateway_of(url: str) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(open_server(url, None, TIMEOUT_MS / 1000))
        tasks = Tasks()
        pusher = Pusher(server, tasks)
        yield Gateway(OpaEngine(server, FakeClock(), Limits(TIMEOUT_MS), pusher), pusher)
        await tasks.close(5)


@pytest.fixture(scope="module")
def server() -> Iterator[Opa]:
    with opa_server() as opa:
        yield opa


@pytest.fixture
def opa(server: Opa) -> Opa:
    """A server that holds nothing."""
    for _ in range(3):  # what others still use cannot be removed at once
        for name in server.policy_ids():
            server.call_if_possible("DELETE", f"/v1/policies/{name}")
    server.call_if_possible("DELETE", "/v1/data/ringfence")
    assert server.policy_ids() == set()
    return server


def test_every_module_is_pushed_with_a_mark_and_its_lines_as_they_are() -> None:
    wanted = policy_set()
    pushed = pushed_modules(wanted)
    served = pushed.pop("ringfence/served.rego")
    assert set(pushed) == {f"ringfence/{name}" for name in wanted.bundle.modules}
    for name, text in wanted.bundle.modules.items():
        assert pushed[f"ringfence/{name}"].startswith(text)
        assert f"data.{package_of(text)}.gateway_set_{wanted.revision}\n" in served
    assert not any("_test" in name for name in pushed)


@pytest.mark.parametrize(
    "text",
    ["package a.b\n", "# package no\n\npackage a.b # yes\n", "  package\ta.b\n", 'package a.b\nx := "\npackage c"'],
)
def test_package_is_the_one_that_is_declared(text: str) -> None:
    assert package_of(text) == "a.b"


async def test_pushed_policies_decide_under_their_revision(opa: Opa) -> None:
    async with gateway_of(opa.url) as gateway:
        wanted = policy_set()
        await gateway.push(wanted)
        assert await gateway.decide() == Decision(allow=True, revision=wanted.revision)


async def test_next_set_leaves_nothing_of_the_one_before(opa: Opa) -> None:
    async with gateway_of(opa.url) as gateway:
        await gateway.push(policy_set("first"))
        assert await gateway.denial() == "test/probe: first"
        await gateway.push(policy_set("second"))
        assert await gateway.denial() == "test/probe: second"
        await gateway.push(policy_set())
        assert (await gateway.decide()).allow
    assert "ringfence/rules/test/probe/rule.rego" not in opa.policy_ids()


async def test_settings_alone_are_another_set(opa: Opa) -> None:
    async with gateway_of(opa.url) as gateway:
        await gateway.push(policy_set())
        before = await gateway.decide()
        await gateway.push(policy_set(models={"allow": ["gpt-*"]}))
        after = await gateway.decide()
    assert before.allow and not after.allow and before.revision != after.revision


async def test_set_that_the_server_holds_is_not_pushed_again(opa: Opa) -> None:
    async with gateway_of(opa.url) as first, gateway_of(opa.url) as second:
        await first.push(policy_set())
        opa.call("PUT", "/v1/data/witness", {"kept": True})
        raw = opa.call("GET", "/v1/policies/ringfence/main.rego")
        await second.push(policy_set())
        assert (await first.decide()).allow and (await second.decide()).allow
    assert raw == opa.call("GET", "/v1/policies/ringfence/main.rego")


@pytest.mark.parametrize(
    "lost",
    [
        ("DELETE", "/v1/data/ringfence"),
        ("DELETE", "/v1/policies/ringfence/served.rego"),
        ("DELETE", "/v1/policies/ringfence/rules/models/allowlist/rule.rego"),
    ],
)
async def test_server_that_lost_a_part_does_not_decide_before_it_is_back(opa: Opa, lost: tuple[str, str]) -> None:
    wanted = policy_set(models={"allow": ["gpt-*"]})
    async with gateway_of(opa.url) as gateway:
        await gateway.push(wanted)
        whole = await gateway.decide()
        opa.call(*lost)
        assert await gateway.decide() == whole
    assert not whole.allow


async def test_module_of_another_set_keeps_the_server_from_deciding(opa: Opa) -> None:
    """As when two gateways push at once: what is there says that it is the set, and one of its modules is not."""
    async with gateway_of(opa.url) as gateway:
        await gateway.push(policy_set(models={"allow": ["gpt-*"]}))
        opa.call(
            "PUT",
            "/v1/policies/ringfence/rules/models/allowlist/rule.rego",
            "package ringfence.rules.models.allowlist\n",
        )
        served = opa.call("POST", "/v1/data/ringfence/served", {"input": {}})["result"]
        assert "revision" not in served
        assert not (await gateway.decide()).allow


async def test_set_that_the_server_refuses_leaves_the_one_before(opa: Opa) -> None:
    mistyped = 'package ringfence.rules.test.typed\n\nviolations contains "x" if count(1) > 0\n'
    before = policy_set("first")
    bad = PolicySet(Bundle({**before.bundle.files, "rules/test/typed/rule.rego": mistyped}), before.settings)
    async with gateway_of(opa.url) as gateway:
        await gateway.push(before)
        with pytest.raises(
            GatewayError, match="could not be put on the OPA server: it refuses a policy.*rules/test/typed"
        ):
            await gateway.push(bad)
        decision = await gateway.decide()
    assert decision.message == "test/probe: first" and decision.revision == before.revision


async def test_first_set_that_the_server_refuses_denies_everything(opa: Opa) -> None:
    bad = PolicySet(Bundle({"main.rego": "package ringfence\n\ndecision := nothing\n"}), {})
    async with gateway_of(opa.url) as gateway:
        with pytest.raises(GatewayError, match="unsafe|undefined|var nothing"):
            await gateway.push(bad)
        assert not (await gateway.decide()).allow


async def test_foreign_policy_of_the_package_is_named_and_not_removed(opa: Opa) -> None:
    opa.call("PUT", "/v1/policies/acme.rego", 'package ringfence.rules.acme.own\n\nviolations contains "x" if true\n')
    async with gateway_of(opa.url) as gateway:
        with pytest.raises(GatewayError, match=r"its policy acme\.rego is of the package ringfence"):
            await gateway.push(policy_set())
    assert opa.policy_ids() == {"acme.rego"}


async def test_policies_of_other_packages_stay(opa: Opa) -> None:
    opa.call("PUT", "/v1/policies/acme.rego", "package acme.ringfence\n\nx := 1\n")
    opa.call("PUT", "/v1/data/acme", {"kept": True})
    async with gateway_of(opa.url) as gateway:
        await gateway.push(policy_set())
        assert (await gateway.decide()).allow
    assert "acme.rego" in opa.policy_ids() and opa.call("GET", "/v1/data/acme")["result"]["kept"] is True


async def test_of_two_gateways_with_different_sets_only_the_last_decides(
    opa: Opa, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_of(opa.url) as first, gateway_of(opa.url) as second:
        await first.push(policy_set())
        await second.push(policy_set("second"))
        with caplog.at_level(logging.ERROR):
            denied = await first.denial()
        assert denied == "engine/failed: the policy server does not hold the gateway's policies"
        assert await second.denial() == "test/probe: second"
    assert "of another gateway" in caplog.text


async def test_server_that_restarts_is_given_the_policies_again() -> None:
    port = free_port()
    wanted = policy_set()
    with opa_server(port=port) as opa:
        async with gateway_of(opa.url) as gateway:
            await gateway.push(wanted)
            allowed = await gateway.decide()
            opa.stop()
            down = await gateway.decide()
            with opa_server(port=port):
                again = await asyncio.gather(*(gateway.decide() for _ in range(5)))
    assert not down.allow and "cannot be reached" in down.message
    assert again == [allowed] * 5 and allowed.allow


async def test_server_that_is_away_is_named_with_the_cause() -> None:
    async with gateway_of(f"http://127.0.0.1:{free_port()}") as gateway:
        with pytest.raises(GatewayError, match="it cannot be reached"):
            await gateway.push(policy_set())
        assert await gateway.restore() is False
