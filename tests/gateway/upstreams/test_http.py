"""The shared exchange against a real server on loopback: bytes out are bytes in, each way to fail has its reason."""

import asyncio

import aiohttp
import pytest

from gateway.config import Secret, UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.upstreams.anthropic import build
from gateway.upstreams.http import PLAIN_BODY_BYTES_MAX, Endpoint
from tests.gateway.upstreams.exchanges import BODY, exchange, request
from tests.support.upstream import Answer, ScriptedUpstream, json_answer, stream, stream_answer, text_block


def config(base_url: str, **fields: object) -> UpstreamConfig:
    return UpstreamConfig(id="claude", backend="anthropic", base_url=base_url, **fields)  # type: ignore[arg-type]


async def test_request_sent_upstream_gets_the_same_bytes_and_raw_path(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    upstream = build(config(server.base_url + "/team%2Fa/"), session)
    await exchange(upstream, request(path="/v1/messages?beta=true&x=%41+b"))
    assert server.received[0].raw_path == "/team%2Fa/v1/messages?beta=true&x=%41+b"
    assert server.received[0].body == BODY


async def test_headers_given_go_out_and_nothing_is_added(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    given = [("anthropic-version", "2023-06-01"), ("Anthropic-Beta", "a,b"), ("anthropic-beta", "c")]
    await exchange(build(config(server.base_url), session), request(headers=given))
    sent = [pair for pair in server.received[0].headers if pair[0].lower() not in ("host", "content-length")]
    assert sent == [*((name.lower(), value) for name, value in given), ("accept-encoding", "identity")]


async def test_configured_header_replaces_the_clients(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    configured = config(server.base_url, headers=(("anthropic-workspace-id", "ours"),))
    await exchange(build(configured, session), request(headers=[("Anthropic-Workspace-Id", "theirs")]))
    values = [value for name, value in server.received[0].headers if name.lower() == "anthropic-workspace-id"]
    assert values == ["ours"]


async def test_body_over_a_megabyte_arrives_whole(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    body = b"x" * (PLAIN_BODY_BYTES_MAX + 1)
    await exchange(build(config(server.base_url), session), request(body=body))
    assert server.received[0].body == body
    assert server.received[0].header("content-length") == str(len(body))


async def test_answer_has_status_repeated_headers_and_the_exact_body(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    frames = stream([text_block("Hi.")])
    server.queue(Answer(418, [("X-A", "1"), ("x-a", "2")], frames))
    answer, body = await exchange(build(config(server.base_url), session), request())
    assert answer.status == 418
    assert [pair for pair in answer.headers if pair[0].lower() == "x-a"] == [("X-A", "1"), ("x-a", "2")]
    assert body == b"".join(frames)


async def test_compressed_answer_is_passed_on_undecoded(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(Answer(200, [("content-encoding", "gzip")], [b"not really gzip"]))
    _, body = await exchange(build(config(server.base_url), session), request())
    assert body == b"not really gzip"


async def test_chunks_are_yielded_before_the_answer_ends(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    rest = asyncio.Event()
    server.queue(Answer(200, chunks=[b"first", rest, b"second"]))
    answer = await build(config(server.base_url), session).send(request())
    chunks = answer.chunks()
    assert await anext(chunks) == b"first"
    rest.set()
    assert await anext(chunks) == b"second"
    await answer.close()


async def test_body_cut_off_yields_what_came_then_fails_as_broke(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    cut = asyncio.Event()
    server.queue(Answer(200, chunks=[b"first", cut, b"second"], cut=True))
    answer = await build(config(server.base_url), session).send(request())
    chunks = answer.chunks()
    got = [await anext(chunks)]
    cut.set()
    with pytest.raises(GatewayError) as failure:
        async for chunk in chunks:
            got.append(chunk)
    await answer.close()
    assert failure.value.reason is Reason.UPSTREAM_BROKE
    assert b"".join(got) == b"firstsecond"


async def test_cut_noticed_before_the_body_was_read_loses_no_byte(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(Answer(200, chunks=[b"first", b"second"], cut=True))
    answer = await build(config(server.base_url), session).send(request())
    with pytest.raises(aiohttp.ClientError):
        await answer._response.content.wait_eof()
    got: list[bytes] = []
    with pytest.raises(GatewayError):
        async for chunk in answer.chunks():
            got.append(chunk)
    await answer.close()
    assert b"".join(got) == b"firstsecond"


async def test_nobody_listening_is_unreachable_and_shows_no_secret(session: aiohttp.ClientSession) -> None:
    configured = config("http://127.0.0.1:1/secret-path", api_key=Secret("sk-secret"))
    with pytest.raises(GatewayError) as failure:
        await exchange(build(configured, session), request())
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "'claude'" in failure.value.message
    assert "secret" not in failure.value.message


async def test_redirect_is_an_error_and_is_not_followed(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(Answer(307, [("location", server.base_url + "/elsewhere")]))
    with pytest.raises(GatewayError) as failure:
        await exchange(build(config(server.base_url), session), request())
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "redirect (307)" in failure.value.message
    assert len(server.received) == 1


async def test_silence_before_headers_times_out(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(Answer(never=True))
    with pytest.raises(GatewayError) as failure:
        await exchange(build(config(server.base_url, read_timeout_seconds=0.05), session), request())
    assert failure.value.reason is Reason.UPSTREAM_TIMEOUT


async def test_silence_within_the_body_times_out(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(Answer(200, chunks=[b"first", asyncio.Event()]))
    answer = await build(config(server.base_url, read_timeout_seconds=0.5), session).send(request())
    with pytest.raises(GatewayError) as failure:
        [chunk async for chunk in answer.chunks()]
    await answer.close()
    assert failure.value.reason is Reason.UPSTREAM_TIMEOUT


async def test_connection_closed_before_an_answer_is_broke(session: aiohttp.ClientSession) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(GatewayError) as failure:
        await exchange(build(config(f"http://127.0.0.1:{port}"), session), request())
    listener.close()
    assert failure.value.reason is Reason.UPSTREAM_BROKE


async def test_answer_closed_early_drops_the_connection_and_twice_is_fine(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(Answer(200, chunks=[b"first", asyncio.Event()]))
    answer = await build(config(server.base_url), session).send(request())
    await answer.close()
    await answer.close()
    await asyncio.wait_for(server.received[0].gone.wait(), 30)
    assert server.received[0].gone.is_set()


async def test_answer_read_to_its_end_leaves_the_connection_for_the_next(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(stream_answer([text_block("Hi.")]), stream_answer([text_block("Again.")]))
    upstream = build(config(server.base_url), session)
    for _ in range(2):
        await exchange(upstream, request())
    connector = session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    assert sum(len(pooled) for pooled in connector._conns.values()) == 1
    assert all(received.answered.is_set() for received in server.received)


async def test_header_that_cannot_be_written_is_refused_without_showing_it(session: aiohttp.ClientSession) -> None:
    with pytest.raises(GatewayError) as failure:
        await exchange(build(config("http://127.0.0.1:1"), session), request(headers=[("x-a", "se\r\ncret")]))
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "cret" not in failure.value.message


async def test_credentials_of_every_cloud_stay_here(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    secrets = ("Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Amz-Security-Token", "Cookie")
    await exchange(build(config(server.base_url), session), request(headers=[(name, "secret") for name in secrets]))
    assert [value for _, value in server.received[0].headers if "secret" in value] == []


async def test_headers_of_a_foreign_prefix_stay_here_whatever_their_case(session: aiohttp.ClientSession) -> None:
    endpoint = Endpoint(config("http://127.0.0.1:1"), session, base_url="", foreign_prefix="x-amz-")
    outgoing = endpoint.outgoing([("X-Amz-Date", "20260101T000000Z"), ("x-amzn-trace-id", "1"), ("Accept", "*/*")])
    assert list(outgoing.items()) == [("x-amzn-trace-id", "1"), ("accept", "*/*"), ("accept-encoding", "identity")]


async def test_beginning_of_a_body_is_read_ahead_and_comes_again(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    rest = asyncio.Event()
    server.queue(Answer(403, chunks=[b"first ", rest, b"second"]))
    answer = await build(config(server.base_url), session).send(request())
    assert await answer.beginning(5) == b"first "
    rest.set()
    assert b"".join([chunk async for chunk in answer.chunks()]) == b"first second"
    await answer.close()


async def test_body_that_breaks_off_while_read_ahead_breaks_off_for_its_reader(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    cut = asyncio.Event()
    server.queue(Answer(401, chunks=[b"first", cut, b"second"], cut=True))
    answer = await build(config(server.base_url), session).send(request())
    cut.set()
    assert (await answer.beginning(1000)).startswith(b"first")
    with pytest.raises(GatewayError) as failure:
        [chunk async for chunk in answer.chunks()]
    await answer.close()
    assert failure.value.reason is Reason.UPSTREAM_BROKE


async def test_base_address_that_is_none_is_refused(session: aiohttp.ClientSession) -> None:
    with pytest.raises(GatewayError) as failure:
        await exchange(build(config("http://[half"), session), request())
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
