"""Claude Platform on AWS: the Claude API's own paths and bodies, a workspace, and an API key or signed requests."""

import aiohttp

from gateway.config import UpstreamConfig
from gateway.upstreams.http import AWS_PREFIX, Endpoint, HttpUpstream, Poster, credential_headers, messages_path
from gateway.upstreams.libraries import library_of

SERVICE = "aws-external-anthropic"


def build(config: UpstreamConfig, session: aiohttp.ClientSession) -> HttpUpstream:
    """With `api_key` nothing is signed; else botocore finds the credentials. Raises `GatewayError` without botocore."""
    endpoint = build_endpoint(config, session)
    if config.api_key is not None:
        return build_with(config, endpoint)
    with library_of(config):
        from gateway.upstreams.sigv4 import signing_poster
    return build_with(config, signing_poster(config, endpoint, service=SERVICE))


def build_endpoint(config: UpstreamConfig, session: aiohttp.ClientSession) -> Endpoint:
    """The region's endpoint; every request says which workspace it is for."""
    assert config.workspace is not None
    base_url = f"https://{SERVICE}.{config.region}.api.aws"
    own = [("anthropic-workspace-id", config.workspace), *credential_headers(config.api_key, None)]
    return Endpoint(config, session, base_url=base_url, own=own, foreign_prefix=AWS_PREFIX)


def build_with(config: UpstreamConfig, poster: Poster) -> HttpUpstream:
    """The upstream around a way to show its credential."""
    return HttpUpstream(config.id, "aws", "anthropic", path_of=messages_path, poster=poster)
