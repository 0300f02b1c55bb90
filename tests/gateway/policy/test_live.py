"""Policies that change while they decide."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config.model import Policy, PolicyBundle
from gateway.errors import GatewayError, Reason
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.live import LivePolicies, keep_polling, laid_over, open_engine
from gateway.policy.policyset import PolicySet, data_json, revision_of
from gateway.policy.settings import merge_settings
from gateway.policy.sources import Fetched
from gateway.ports import PolicyEngine
from tests.gateway.policy.test_sources import commit, git, tar_of
from tests.support.clock import FakeClock
from tests.support.opa import free_port, opa_server
from tests.support.policies import build_query, small_bundle, write_small

ODD = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "frobnicate now"}})
DENY_ODD = {"tools": {"deny": [{"tool": "Bash", "commands": ["frobnicate *"]}]}}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Policies that may be changed."""
    return write_small(tmp_path / "policies")


def forbid_odd(policies: Path) -> None:
    """Change a default of the copy."""
    defaults = policies / "data" / "defaults.yaml"
    defaults.write_text(
        defaults.read_text().replace("\n  deny: []\n", '\n  deny: [{tool: Bash, commands: ["frobnicate *"]}]\n', 1)
    )


async def test_changed_policies_decide_after_a_reload_and_not_before(policies: Path) -> None:
    async with open_engine(Policy(path=policies), FakeClock()) as engine:
        before = engine.revision
        forbid_odd(policies)
        still = await engine.decide(ODD)
        reloaded = await engine.reload()
        after = await engine.decide(ODD)
        assert (still.allow, still.revision, after.allow, after.revision) == (True, before, False, reloaded)
        assert before != reloaded == engine.revision


async def test_engine_that_was_left_decides_nothing_any_more(policies: Path) -> None:
    async with open_engine(Policy(path=policies), FakeClock()) as engine:
        before = (await engine.decide(ODD)).allow
    assert (before, (await engine.decide(ODD)).allow) == (True, False)


async def test_bad_policies_are_refused_and_the_old_ones_stay(policies: Path) -> None:
    async with open_engine(Policy(path=policies, settings=DENY_ODD), FakeClock()) as engine:
        before = engine.revision
        (policies / "main.rego").write_text("package ringfence\n\ndecision := no_such_function(1)\n")
        with pytest.raises(GatewayError) as refused:
            await engine.reload()
        assert refused.value.reason is Reason.POLICY_FAILED and "main.rego" in refused.value.message
        assert (engine.revision, (await engine.decide(ODD)).allow) == (before, False)


async def test_other_settings_decide_from_a_reload_on_and_bad_ones_leave_those_in_use(policies: Path) -> None:
    async with open_engine(Policy(path=policies), FakeClock()) as engine:
        before = (await engine.decide(ODD)).allow
        await engine.reload(laid_over(Policy(settings=DENY_ODD)))
        after = (await engine.decide(ODD)).allow
        with pytest.raises(GatewayError, match="tools"):
            await engine.reload(laid_over(Policy(settings={"tools": {"no_such_setting": 1}})))
        assert (before, after, (await engine.decide(ODD)).allow) == (True, False, False)
        await engine.reload()
        assert not (await engine.decide(ODD)).allow


async def test_settings_of_the_configuration_stay_over_reloaded_policies(policies: Path) -> None:
    async with open_engine(Policy(path=policies, settings=DENY_ODD, mode="shadow"), FakeClock()) as engine:
        await engine.reload()
        decision = await engine.decide(ODD)
    assert decision.allow and [reason.rule for reason in decision.shadow] == ["tools/denylist"]


async def test_bad_policies_at_the_start_are_refused(policies: Path) -> None:
    (policies / "main.rego").unlink()
    with pytest.raises(GatewayError, match="main.rego is missing"):
        async with open_engine(Policy(path=policies), FakeClock()):
            pass


async def test_policies_of_a_checkout_follow_its_ref(policies: Path) -> None:
    git(policies, "init", "--quiet")
    commit(policies, {})
    section = Policy(bundle=PolicyBundle(git=policies, poll_seconds=3600))
    async with open_engine(section, FakeClock()) as engine:
        forbid_odd(policies)
        assert (await engine.decide(ODD)).allow
        commit(policies, {})
        await engine.reload()
        assert not (await engine.decide(ODD)).allow


class Scripted:
    """A source that gives the next of its sets; raises those that are exceptions; then has nothing new."""

    place = "here"
    poll_seconds = 0.0

    def __init__(self, *sets: Fetched | GatewayError | RuntimeError) -> None:
        self.sets = list(sets)
        self.asked = 0
        self.polled: list[bool] = []

    async def read(self, *, fresh: bool) -> Fetched | None:
        self.asked += 1
        if self.sets:
            self.last = self.sets.pop(0)
        elif not fresh:
            return None
        found = self.last
        if isinstance(found, Exception):
            raise found
        return found


async def serve(wanted: PolicySet) -> PolicyEngine:
    return EmbeddedEngine(wanted.bundle, wanted.settings)


def fetched(version: str, **files: str) -> Fetched:
    """A set that is told apart by a comment."""
    small = small_bundle().files
    return Fetched(Bundle({**small, "main.rego": f"# {version}\n{small['main.rego']}", **files}), version)


def revision(version: str) -> str:
    settings, _ = merge_settings(small_bundle(), {})
    return revision_of(fetched(version).bundle, settings)


@asynccontextmanager
async def polled(*sets: Fetched | GatewayError | RuntimeError) -> AsyncIterator[tuple[LivePolicies, Scripted]]:
    """Live policies whose source was read once and is polled without a pause."""
    source = Scripted(*sets)
    live = LivePolicies(source, {}, serve)
    await live.reload()
    polling = asyncio.ensure_future(keep_polling(live, source, source.polled.append))
    async with asyncio.timeout(30):
        while source.sets or source.asked < len(sets) + 3:
            await asyncio.sleep(0)
    try:
        yield live, source
    finally:
        polling.cancel()
        live.close()


async def test_source_that_has_another_set_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with polled(fetched("v1"), fetched("v2")) as (live, source):
            assert source.polled == [True]
            assert live.revision == revision("v2")
    assert "of v2 replace" in caplog.text and len(caplog.records) == 1


async def test_set_that_is_refused_leaves_the_one_before_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    away = GatewayError(Reason.POLICY_FAILED, "no policies could be read from here: it is away")
    bad = fetched("v2", **{"main.rego": "package ringfence\n\ndecision := no_such_function(1)\n"})
    with caplog.at_level(logging.ERROR):
        async with polled(fetched("v1"), bad, away, away) as (live, source):
            assert source.polled == [False, False]
            assert live.revision == revision("v1")
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "no_such_function" in said[0] and said[1].endswith("it is away")


async def test_source_that_breaks_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with polled(fetched("v1"), RuntimeError("odd"), fetched("v2")) as (live, _):
            assert live.revision == revision("v2")
    assert "looking for policies failed (odd)" in caplog.text


async def test_server_of_opa_that_is_away_stops_the_start(policies: Path) -> None:
    policy = Policy(engine="opa", url=f"http://127.0.0.1:{free_port()}", path=policies)
    with pytest.raises(GatewayError, match="it cannot be reached"):
        async with open_engine(policy, FakeClock()):
            pass


OWN: Mapping[str, str] = {
    "allows": 'package ringfence\n\ndecision := {"allow": true}\n',
    "denies": 'package ringfence\n\ndecision := {"allow": false, "reasons": [{"rule": "a/b", "message": "no"}]}\n',
}


async def test_own_policies_of_a_server_decide_as_they_are_now() -> None:
    with opa_server() as opa:
        opa.call("PUT", "/v1/policies/own.rego", OWN["allows"])
        policy = Policy(engine="opa", url=opa.url, push=False, timeout_ms=20_000)
        async with open_engine(policy, FakeClock()) as engine:
            assert (await engine.decide(ODD)).allow and engine.revision == "unknown"
            opa.call("PUT", "/v1/policies/own.rego", OWN["denies"])
            assert (await engine.decide(ODD)).message == "a/b: no"
            assert await engine.reload() == "unknown"


async def test_bundle_of_a_server_decides_under_its_revision(tmp_path: Path) -> None:
    """The policy directory as a bundle, with the settings that rules read as its data."""
    settings, _ = merge_settings(small_bundle(), {"models": {"allow": ["gpt-*"]}})
    manifest = {"revision": "v12", "roots": ["ringfence"]}
    packed = {".manifest": json.dumps(manifest), "data.json": data_json(settings)}
    (tmp_path / "bundle.tar.gz").write_bytes(tar_of({**small_bundle().files, **packed}))
    with opa_server("--bundle", str(tmp_path / "bundle.tar.gz")) as opa:
        policy = Policy(engine="opa", url=opa.url, push=False, timeout_ms=20_000)
        async with open_engine(policy, FakeClock()) as engine:
            decision = await engine.decide(build_query({"kind": "infer"}))
            assert engine.revision == "v12"
    assert not decision.allow and (decision.reasons[0].rule, decision.revision) == ("models/allowlist", "v12")


async def test_server_without_policies_of_its_own_stops_the_start() -> None:
    with opa_server() as opa:
        with pytest.raises(GatewayError, match="the policies do not say anything"):
            async with open_engine(Policy(engine="opa", url=opa.url, push=False, timeout_ms=20_000), FakeClock()):
                pass
