"""Bedrock as an upstream: its paths as boto3 writes them, its signature, its bearer, its answers byte for byte."""

import json

import aiohttp
import pytest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

from gateway.config import Secret, UpstreamConfig
from gateway.upstreams.bedrock import SERVICE, build, build_endpoint, build_with, foundation_model, path_of
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.sigv4 import SigningPoster, aws_credential
from tests.gateway.upstreams.exchanges import NAMES, assert_as_recorded, exchange, recorded, request, signature_of
from tests.support.upstream import ScriptedUpstream, json_answer

SECRET = "wJalrXUtnFEMI/K7MDENG"
REGION = "eu-west-1"


def config(base_url: str | None = None, **fields: object) -> UpstreamConfig:
    return UpstreamConfig(id="rock", backend="bedrock", base_url=base_url, region=REGION, **fields)  # type: ignore[arg-type]


def signing(server: ScriptedUpstream, session: aiohttp.ClientSession) -> HttpUpstream:
    named = config(server.base_url)
    credential = aws_credential("rock", lambda: Credentials("AKID", SECRET, "session"))
    poster = SigningPoster(build_endpoint(named, session), credential, service=SERVICE, region=REGION)
    return build_with(named, poster)


@pytest.mark.parametrize("name", NAMES)
async def test_signed_exchange_is_the_one_of_boto3(
    name: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    await assert_as_recorded(signing(server, session), server, recorded("bedrock", name))
    shown = server.received[0].header("authorization")
    assert shown == signature_of(server.received[0], server, secret=SECRET, service="bedrock", region=REGION)


def test_recorded_stream_is_whole_for_botocore() -> None:
    frames = EventStreamBuffer()
    (stream,) = recorded("bedrock", "messages_stream").answer.chunks
    assert isinstance(stream, bytes)
    frames.add_data(stream)
    assert {(frame.headers[":event-type"], "bytes" in json.loads(frame.payload)) for frame in frames} == {
        ("chunk", True)
    }


async def test_bearer_is_shown_and_nothing_is_signed(server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    server.queue(json_answer({}))
    theirs = [("authorization", "AWS4-HMAC-SHA256 theirs"), ("x-amz-date", "20200101T000000Z")]
    upstream = build(config(server.base_url, bearer=Secret("rock-bearer")), session)
    await exchange(upstream, request(theirs))
    assert server.received[0].header("authorization") == "Bearer rock-bearer"
    assert server.received[0].header("x-amz-date") is None


async def test_address_is_the_regions_runtime(session: aiohttp.ClientSession) -> None:
    url = build_endpoint(config(), session).url("/model/x%3A0/invoke")
    assert str(url) == "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x%3A0/invoke"


async def test_upstream_is_of_bedrocks_shape(session: aiohttp.ClientSession) -> None:
    upstream = build(config(bearer=Secret("b")), session)
    assert (upstream.id, upstream.backend, upstream.shape) == ("rock", "bedrock", "bedrock")


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "eu.anthropic.claude-haiku-4-5-20251001-v1%3A0"),
        ("arn:aws:bedrock:eu-west-1:1:x/y", "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ax%2Fy"),
        ("a?b#c%2F", "a%3Fb%23c%252F"),
    ],
)
def test_model_is_one_segment_of_the_path_whatever_is_in_it(model: str, segment: str) -> None:
    assert path_of(request(model=model, stream=False)) == f"/model/{segment}/invoke"
    assert path_of(request(model=model, stream=True)) == f"/model/{segment}/invoke-with-response-stream"


@pytest.mark.parametrize(
    ("model", "counted"),
    [
        ("anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"),
        ("us.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"),
        ("us-gov.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/apac.anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x1y2", None),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5", None),
    ],
)
def test_tokens_are_counted_by_the_foundation_model_where_the_id_tells_it(model: str, counted: str | None) -> None:
    assert foundation_model(model) == (counted or model)
