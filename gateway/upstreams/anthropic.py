"""The Claude API, or anything shaped like it: the client's own path, and a credential that does not change."""

import aiohttp

from gateway.config import UpstreamConfig
from gateway.upstreams.http import Endpoint, HttpUpstream, credential_headers, messages_path

DEFAULT_BASE_URL = "https://api.anthropic.com"


def build(config: UpstreamConfig, session: aiohttp.ClientSession) -> HttpUpstream:
    """Shows `api_key` as `x-api-key`, `bearer` as such, and nothing when there is neither."""
    own = credential_headers(config.api_key, config.bearer)
    endpoint = Endpoint(config, session, base_url=DEFAULT_BASE_URL, own=own)
    return HttpUpstream(config.id, "anthropic", "anthropic", path_of=messages_path, poster=endpoint)
