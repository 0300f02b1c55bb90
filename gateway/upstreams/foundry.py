"""Claude in Microsoft Foundry: the Anthropic shape with deployment names as models, an API key or an Entra bearer."""

import time
from collections.abc import Callable
from typing import Protocol

import aiohttp

from gateway.config import UpstreamConfig
from gateway.core.wire.headers import first
from gateway.errors import GatewayError, Reason
from gateway.upstreams.credentials import BearerPoster, Lease, LiveCredential, expires_at
from gateway.upstreams.http import Endpoint, HttpAnswer, HttpUpstream, Poster, credential_headers, messages_path
from gateway.upstreams.libraries import library_of

SCOPE = "https://ai.azure.com/.default"
KEY_HEADERS = ("x-api-key", "api-key")
"""Both, as the official SDK does."""
CHECK = "the Azure credentials of the gateway (managed identity, AZURE_* variables or az login)"


class EntraToken(Protocol):
    """What is used of azure-identity's token."""

    @property
    def token(self) -> str: ...
    @property
    def expires_on(self) -> int: ...


GiveToken = Callable[[str], EntraToken]
"""From a scope to its token: azure-identity's `get_token`. It keeps what it gave until shortly before its end."""


def build(config: UpstreamConfig, session: aiohttp.ClientSession) -> HttpUpstream:
    """With `api_key` or `bearer` that is shown as it is; else azure-identity finds a credential.

    Raises `GatewayError` without azure-identity, and when nothing says where the deployment is.
    """
    endpoint = build_endpoint(config, session)
    if config.api_key is not None or config.bearer is not None:
        return build_with(config, endpoint)
    with library_of(config):
        from azure.identity import DefaultAzureCredential

    bearer = LiveCredential(config.id, fetch_from(lambda: DefaultAzureCredential().get_token), check=CHECK)
    return build_with(config, BearerPoster(endpoint, bearer, is_expired))


def build_endpoint(config: UpstreamConfig, session: aiohttp.ClientSession) -> Endpoint:
    """The resource's endpoint. Raises `GatewayError` when nothing says where the deployment is."""
    if config.resource is None and config.base_url is None:
        message = f"Upstream '{config.id}' (backend foundry) has no address; set its resource or its base_url."
        raise GatewayError(Reason.UPSTREAM_UNREACHABLE, message)
    base_url = f"https://{config.resource}.services.ai.azure.com/anthropic"
    own = credential_headers(config.api_key, config.bearer, KEY_HEADERS)
    return Endpoint(config, session, base_url=base_url, own=own)


def build_with(config: UpstreamConfig, poster: Poster) -> HttpUpstream:
    """The upstream around a way to show its credential."""
    return HttpUpstream(config.id, "foundry", "anthropic", path_of=messages_path, poster=poster)


def fetch_from(
    load: Callable[[], GiveToken], *, unix_seconds: Callable[[], float] = time.time
) -> Callable[[bool], Lease[str]]:
    """`LiveCredential`'s fetch from azure-identity. Raises what azure-identity raises."""
    loaded: GiveToken | None = None

    def fetch(renew: bool) -> Lease[str]:
        nonlocal loaded
        if renew or loaded is None:
            loaded = load()
        given = loaded(SCOPE)
        return Lease(given.token, expires_at(given.expires_on, unix_seconds))

    return fetch


def is_expired(answer: HttpAnswer, body: bytes) -> bool:
    """Entra's gateway says so in words, or in the challenge that RFC 6750 has for it."""
    challenge = first(answer.headers, "www-authenticate") or ""
    return answer.status == 401 and (b"expired" in body or "invalid_token" in challenge)
