"""Events of approvals as they reach a server on loopback, or do not."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import Secret
from gateway.config.model import WebhookConfig
from gateway.telemetry import webhook as module
from gateway.telemetry.webhook import SIGNATURE_HEADER, Webhook
from tests.gateway.core.oversight.approvalcases import approved, item
from tests.support.clock import FakeClock

SECRET = "a-long-random-secret"


class Receiver:
    """Answers with `statuses` in turn, then 200; keeps what it got."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.Response:
        self.received.put_nowait((request.headers.get(SIGNATURE_HEADER, ""), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"location": "/elsewhere"} if status == 302 else {})

    async def next(self) -> Any:
        return json.loads((await self.received.get())[1])


@asynccontextmanager
async def delivering(receiver: Receiver) -> AsyncIterator[Webhook]:
    app = web.Application()
    app.router.add_post("/hook", receiver.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        config = WebhookConfig(str(server.make_url("/hook?to=ops")), Secret(SECRET))
        hook = Webhook(config, session, FakeClock(), retry_seconds=(0, 0))
        task = asyncio.get_running_loop().create_task(hook.run())
        yield hook
        task.cancel()


async def test_event_is_signed_and_says_what_changed() -> None:
    receiver = Receiver()
    async with delivering(receiver) as hook:
        hook.tell("asked", item(what={"input": {"command": "hush"}}))
        signature, body = await receiver.received.get()
        hook.tell("approved", approved(item()))
        event, decided = json.loads(body), await receiver.next()
    assert signature == "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    assert (event["type"], event["change"], event["approval"]["id"]) == ("approval.waiting", "asked", "apr_1")
    assert (decided["type"], decided["approval"]["state"]) == ("approval.decided", "approved")
    assert b"hush" not in body and decided["id"] != event["id"]


async def test_failed_delivery_is_tried_again_with_the_same_event() -> None:
    receiver = Receiver(500, 302)
    async with delivering(receiver) as hook:
        hook.tell("asked", item())
        events = [await receiver.next() for _ in range(3)]
        hook.tell("asked", item(id="apr_2"))
        assert (await receiver.next())["approval"]["id"] == "apr_2"
    assert len({event["id"] for event in events}) == 1 and (hook.lost, hook.delivered) == (0, 1)


async def test_lost_events_are_counted_and_said_once_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(*[500] * 6)
    with caplog.at_level(logging.WARNING):
        async with delivering(receiver) as hook:
            for number in range(3):
                hook.tell("asked", item(id=f"apr_{number}"))
            seen = [(await receiver.next())["approval"]["id"] for _ in range(7)]
            hook.tell("asked", item(id="apr_last"))
            await receiver.next()
    assert seen == ["apr_0"] * 3 + ["apr_1"] * 3 + ["apr_2"] and hook.lost == 2
    said = [record.message for record in caplog.records if record.name == module.__name__]
    assert len(said) == 2 and "it answered 500" in said[0] and "again; 2 were lost" in said[1]
    assert "hook" not in said[0].replace("webhook", "") and "ops" not in said[0]


async def test_unreachable_receiver_never_makes_the_teller_wait() -> None:
    async with aiohttp.ClientSession() as session:
        config = WebhookConfig("http://127.0.0.1:9/hook", Secret(SECRET))
        hook = Webhook(config, session, FakeClock(), retry_seconds=())
        for number in range(module.QUEUE_MAX + 2):
            hook.tell("asked", item(id=f"apr_{number}"))
    assert hook.lost == 2 and hook.delivered == 0


async def test_remembered_answer_is_no_event() -> None:
    receiver = Receiver()
    async with delivering(receiver) as hook:
        hook.tell("remembered", approved(item()))
        hook.tell("asked", item(id="apr_2"))
        assert (await receiver.next())["approval"]["id"] == "apr_2"
    assert receiver.received.empty()


def test_address_and_secret_are_not_shown() -> None:
    assert "hook" not in repr(WebhookConfig("https://example.com/hook", Secret(SECRET))).lower().replace("webhook", "")
    assert SECRET not in repr(WebhookConfig("https://example.com", Secret(SECRET)))


async def test_event_of_any_kind_is_signed_and_a_lost_one_names_its_section(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(500)
    app = web.Application()
    app.router.add_post("/hook", receiver.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        config = WebhookConfig(str(server.make_url("/hook")), Secret(SECRET))
        hook = Webhook(config, session, FakeClock(), section="runs", retry_seconds=())
        task = asyncio.get_running_loop().create_task(hook.run())
        hook.send("run.failed", {"run": {"run": "wf_a"}})
        hook.send("run.completed", {"run": {"run": "wf_b"}})
        first, second = await receiver.next(), await receiver.next()
        task.cancel()
    assert (first["type"], first["run"], second["type"]) == ("run.failed", {"run": "wf_a"}, "run.completed")
    assert "see runs.webhook in the configuration" in caplog.text
