"""`ringfence serve` as a process of its own: how it gets ready, stops, and comes back after a kill."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.app import profile_script
from gateway.stores.credentials import CredentialRow, CredentialRows
from tests.support.gateway import SESSION, events_of, text_of
from tests.support.policies import POLICIES
from tests.support.process import Served, refusal_to_serve, run_cli, served
from tests.support.upstream import SSE_HEADERS, Answer, ScriptedUpstream, stream, stream_answer, text_block

pytestmark = pytest.mark.timeout(240)
"""Some start several gateways, and each checks its policies first."""

USAGE = {"input_tokens": 100, "output_tokens": 15_000}
COST_NANOUSD = 15_000 * 20_000 + 100 * 4_000
STRICT = [{"account": "org", "window": "total", "limit_usd": 5, "strict": True}]


async def test_ready_line_names_what_answers_then(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        async with gateway.client.get(gateway.url + "/readyz") as response:
            assert response.status == 200
        async with gateway.client.get(gateway.ready[2]) as response:
            assert "ringfence_holds_open 0.0" in await response.text()
        assert gateway.ready[4] == str(tmp_path / "ringfence.yaml")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_with_0_and_without_a_word(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path) as gateway:
        assert await gateway.stop(number) == (0, b"", b"")
        with pytest.raises(aiohttp.ClientConnectionError):
            await gateway.ask()


async def test_stop_lets_running_answers_end_and_leaves_nothing_held(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    chunks = stream([text_block("to the end")], usage=USAGE)
    async with ScriptedUpstream() as upstream, served(tmp_path, upstream.base_url, budgets=STRICT) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, [*chunks[:3], go_on, *chunks[3:]]))
        asked = asyncio.ensure_future(gateway.ask())
        await upstream.wait_for_requests(1)
        gateway.process.terminate()
        while await listens(gateway):
            pass
        for _ in range(50):
            async with gateway.client.get(gateway.ready[2]) as response:
                assert "ringfence_in_flight_requests 1.0" in await response.text()
        go_on.set()
        status, got = await asked
        assert await gateway.process.wait() == 0
        assert (status, text_of(events_of(got))) == (200, "to the end")
    assert stored(tmp_path, "SELECT cost FROM usage WHERE account = 'org'") == [(COST_NANOUSD,)]
    assert stored(tmp_path, "SELECT id FROM holds") == []


async def listens(gateway: Served) -> bool:
    """Whether a connection is taken now."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.url).port)
    except ConnectionError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


def stored(directory: Path, question: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(directory / "ringfence.db")) as connection:
        return connection.execute(question).fetchall()


async def test_second_gateway_on_the_same_database_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        told = await asyncio.to_thread(refusal_to_serve, tmp_path)
        assert f"in use by another gateway (process {gateway.process.pid})" in told
        assert str(tmp_path / "ringfence.db") in told and "store.url" in told
        async with gateway.client.get(gateway.url + "/readyz") as response:
            assert response.status == 200


@pytest.mark.parametrize("section", ["listen", "metrics"])
async def test_occupied_port_is_one_message_with_the_port(tmp_path: Path, section: str) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        told = refusal_to_serve(tmp_path, **{section: {"host": "127.0.0.1", "port": port}})
    assert "cannot listen" in told and str(port) in told and "in use" in told
    assert told.count("\n") == 1


def broken_rule(directory: Path) -> dict[str, Any]:
    shutil.copytree(POLICIES, directory / "policies")
    rule = directory / "policies" / "rules" / "tools" / "denylist" / "rule.rego"
    rule.write_text(rule.read_text() + "\nviolations contains broken if {\n")
    return {"policy": {"path": str(directory / "policies")}}


def failing_example(directory: Path) -> dict[str, Any]:
    shutil.copytree(POLICIES, directory / "policies")
    example = directory / "policies" / "rules" / "files" / "secrets" / "examples" / "deny_read.json"
    example.write_text(json.dumps(json.loads(example.read_text()) | {"expect": {"allow": True}}))
    return {"policy": {"path": str(directory / "policies")}}


def audit_in_the_way(directory: Path) -> dict[str, Any]:
    (directory / "trail").mkdir()
    return {"audit": {"path": str(directory / "trail")}}


def damaged_store(directory: Path) -> dict[str, Any]:
    (directory / "ringfence.db").write_bytes(b"not a database" * 1000)
    return {}


def unknown_setting(_directory: Path) -> dict[str, Any]:
    return {"policy": {"settings": {"spawn": {"dept": 3}}}}


def broken_prices(directory: Path) -> dict[str, Any]:
    (directory / "prices.yaml").write_text("models: !!bool [")
    return {"prices": {"path": str(directory / "prices.yaml")}}


def odd_prices(directory: Path) -> dict[str, Any]:
    (directory / "prices.yaml").write_text("schema: !!bool x\n")
    return {"prices": {"path": str(directory / "prices.yaml")}}


def broken_scenario(directory: Path) -> dict[str, Any]:
    (directory / "scenario.yaml").write_text("turns: [{when: {promt: x}}]\n")
    upstream = {"id": "sim", "backend": "simulated", "scenario": str(directory / "scenario.yaml")}
    return {"upstreams": [upstream]}


def stored_twin(directory: Path) -> dict[str, Any]:
    rows = CredentialRows(directory / "ringfence.db")
    rows.insert(CredentialRow("alice-laptop", "bob", None, sha256(b"rf_another-secret-0123").digest(), 1, None))
    return {}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (broken_rule, ["rules/tools/denylist/rule.rego"]),
        (failing_example, ["rules/files/secrets/examples/deny_read.json", "allow is False, expected True"]),
        (unknown_setting, ["spawn.dept", "did you mean depth?"]),
        (audit_in_the_way, ["audit.path", "trail"]),
        (damaged_store, ["ringfence.db", "not a database"]),
        (broken_prices, ["prices.yaml", "mend the price file"]),
        (odd_prices, ["prices.yaml", "mend the price file"]),
        (broken_scenario, ["scenario.yaml:1:", "promt"]),
        (stored_twin, ["alice-laptop exists twice", "revoke the one in the store"]),
    ],
)
def test_what_cannot_be_used_is_refused_before_serving(
    tmp_path: Path, prepare: Callable[[Path], dict[str, Any]], words: list[str]
) -> None:
    told = refusal_to_serve(tmp_path, **prepare(tmp_path))
    assert [word for word in words if word not in told] == [], told


async def test_credential_made_while_serving_works_until_it_is_revoked(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        served(tmp_path, upstream.base_url) as gateway,
    ):
        made = await run_cli(tmp_path, "credentials", "create", "ci", "--user", "bob")
        opened = await seconds_until(gateway, made["secret"], 200)
        await run_cli(tmp_path, "credentials", "revoke", "ci")
        closed = await seconds_until(gateway, made["secret"], 401)
        assert opened < 2.5 and closed < 2.5
        assert (await gateway.operator("limits"))["limits"] == []
    assert made["secret"].encode() not in (tmp_path / "ringfence.db").read_bytes()


async def seconds_until(gateway: Served, secret: str, status: int) -> float:
    """How long a credential takes to be answered with `status`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    headers = {"x-api-key": secret}
    while True:
        async with gateway.client.get(gateway.url + "/v1/models", headers=headers) as response:
            if response.status == status:
                return loop.time() - began


async def test_kill_loses_no_spend_and_no_session_and_open_holds_become_spend(tmp_path: Path) -> None:
    whole = stream_answer([text_block("x")], usage=USAGE)
    never = asyncio.Event()
    hanging = Answer(200, SSE_HEADERS, [*whole.chunks[:2], never])
    async with ScriptedUpstream() as upstream:
        upstream.queue(whole, whole, hanging, hanging)
        async with served(tmp_path, upstream.base_url, budgets=STRICT) as gateway:
            for _ in range(2):
                await gateway.ask()
            assert await gateway.org() == (2 * COST_NANOUSD, 0)
            asked = [asyncio.ensure_future(gateway.ask()) for _ in range(2)]
            await upstream.wait_for_requests(4)
            spent, held = await gateway.org()
            (before,) = (await gateway.operator("sessions"))["sessions"]
            while str(2 * COST_NANOUSD).encode() not in b"".join(agents_on_disk(tmp_path)):
                await gateway.org()
            gateway.process.kill()
            await gateway.process.wait()
            ended = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, aiohttp.ClientError) for each in ended)
        async with served(tmp_path, upstream.base_url, budgets=STRICT) as gateway:
            (after,) = (await gateway.operator("sessions"))["sessions"]
            assert held > 2 * COST_NANOUSD * 0.9
            assert await gateway.org() == (spent + held, 0)
            assert (after["session"], after["agents"][0]["agent"]) == (SESSION, "main")
            assert (
                0 <= after["cost_nanousd"] <= before["cost_nanousd"] == 2 * COST_NANOUSD
            )  # meters: up to a second old
        never.set()


def agents_on_disk(directory: Path) -> list[bytes]:
    """Records of agents; their meters are written about once a second."""
    return [row[0] for row in stored(directory, "SELECT record FROM agents")]


async def test_audit_is_complete_after_a_kill(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        served(tmp_path, upstream.base_url) as gateway,
    ):
        for _ in range(3):
            await gateway.ask()
        await gateway.operator("limits")
        gateway.process.kill()
        await gateway.process.wait()
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "request" and line["path"] == "/v1/messages" for line in lines) == 3


def test_profile_of_a_script_speaks_the_words_of_the_query() -> None:
    profile = profile_script("export const meta = {name: 'n', description: 'd'}\nagent('x', {model: 'opus'})")
    assert (profile.valid, profile.name, profile.fan_out, profile.models) == (True, "n", 1, ("opus",))
    assert not profile_script("not a script").valid


async def test_hangup_takes_over_policies_and_keeps_the_old_ones_when_the_new_are_bad(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(POLICIES, tmp_path / "policies"))
    async with served(tmp_path, policy={"path": str(policies)}) as gateway:
        (policies / "main.rego").write_text((POLICIES / "main.rego").read_text() + "\n# changed\n")
        gateway.process.send_signal(signal.SIGHUP)
        code, _, told = await gateway.stop()
        assert code == 0 and b"policies reloaded: " in told and gateway.ready[3].encode() not in told
    async with served(tmp_path, policy={"path": str(policies)}) as gateway:
        (policies / "main.rego").write_text("package ringfence\n")
        gateway.process.send_signal(signal.SIGHUP)
        code, _, told = await gateway.stop()
        assert code == 0 and f"{gateway.ready[3]} stay in use".encode() in told


async def test_hangup_takes_over_the_settings_of_policies_as_the_configuration_has_them_now(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        path = tmp_path / "ringfence.yaml"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"policy": {"settings": {"models": {"allow": ["claude-haiku-*"]}}}}))
        gateway.process.send_signal(signal.SIGHUP)
        code, _, told = await gateway.stop()
        assert code == 0 and b"policies reloaded: " in told and gateway.ready[3].encode() not in told
    async with served(tmp_path) as gateway:
        path.write_text(json.dumps(document | {"policy": {"mode": "nonsense"}}))
        gateway.process.send_signal(signal.SIGHUP)
        code, _, told = await gateway.stop()
        assert code == 0 and f"{gateway.ready[3]} stay in use: ".encode() in told and b"policy.mode" in told
