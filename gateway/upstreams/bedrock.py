"""Amazon Bedrock's InvokeModel: the model in the path, signed requests or a bearer. Not Converse, not Mantle."""

import re
from urllib.parse import quote

import aiohttp

from gateway.config import UpstreamConfig
from gateway.ports import UpstreamRequest
from gateway.upstreams.http import AWS_PREFIX, Endpoint, HttpUpstream, Poster, credential_headers
from gateway.upstreams.libraries import library_of

SERVICE = "bedrock"
BODY_BYTES_MAX = 20 * 1024 * 1024

_PROFILE_OF = re.compile(r"^(?:arn:[^/]*:inference-profile/)?[a-z]+(?:-[a-z]+)*\.(?=anthropic\.)")


def build(config: UpstreamConfig, session: aiohttp.ClientSession) -> HttpUpstream:
    """With `bearer` nothing is signed; else botocore finds the credentials. Raises `GatewayError` without botocore."""
    endpoint = build_endpoint(config, session)
    if config.bearer is not None:
        return build_with(config, endpoint)
    with library_of(config):
        from gateway.upstreams.sigv4 import signing_poster
    return build_with(config, signing_poster(config, endpoint, service=SERVICE))


def build_endpoint(config: UpstreamConfig, session: aiohttp.ClientSession) -> Endpoint:
    """The region's runtime endpoint."""
    base_url = f"https://bedrock-runtime.{config.region}.amazonaws.com"
    own = credential_headers(None, config.bearer)
    return Endpoint(config, session, base_url=base_url, own=own, foreign_prefix=AWS_PREFIX)


def build_with(config: UpstreamConfig, poster: Poster) -> HttpUpstream:
    """The upstream around a way to show its credential."""
    return HttpUpstream(config.id, "bedrock", "bedrock", path_of=path_of, poster=poster, body_bytes_max=BODY_BYTES_MAX)


def path_of(request: UpstreamRequest) -> str:
    """The model is one path segment with nothing raw in it, as boto3 writes it: what is signed is what is sent."""
    if request.operation == "count_tokens":
        return f"/model/{quote(foundation_model(request.model), safe='')}/count-tokens"
    verb = "invoke-with-response-stream" if request.stream else "invoke"
    return f"/model/{quote(request.model, safe='')}/{verb}"


def foundation_model(model: str) -> str:
    """The id without its inference profile, which counting tokens does not take. An opaque profile stays."""
    return _PROFILE_OF.sub("", model)
