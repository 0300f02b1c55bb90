"""Claude on Google Cloud (rawPredict): the model in the path, the location in host and path, a Google access token."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, cast
from urllib.parse import quote

import aiohttp

from gateway.config import UpstreamConfig
from gateway.ports import UpstreamRequest
from gateway.upstreams.credentials import BearerPoster, Lease, LiveCredential, expires_at
from gateway.upstreams.http import Endpoint, HttpAnswer, HttpUpstream, Poster, credential_headers
from gateway.upstreams.libraries import library_of

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
MULTI_REGIONS = ("us", "eu")
BODY_BYTES_MAX = 30 * 1024 * 1024
FOREIGN_PREFIX = "x-goog-"
"""A client does not choose whose quota a request of ours is counted on."""
CHECK = "the Google credentials of the gateway (GOOGLE_APPLICATION_CREDENTIALS or the service account it runs as)"


class GoogleCredentials(Protocol):
    """What is used of google-auth's credentials."""

    token: str | None
    expiry: datetime | None
    """UTC, without saying so."""

    def refresh(self, request: Any, /) -> None: ...


def build(config: UpstreamConfig, session: aiohttp.ClientSession) -> HttpUpstream:
    """With `bearer` that is shown as it is; else google-auth finds credentials. Raises `GatewayError` without it."""
    endpoint = build_endpoint(config, session)
    if config.bearer is not None:
        return build_with(config, endpoint)
    with library_of(config):
        import google.auth
        from google.auth.transport.requests import Request

    def load() -> GoogleCredentials:
        return cast(GoogleCredentials, google.auth.default(scopes=[SCOPE])[0])  # pyright: ignore[reportUnknownMemberType]

    bearer = LiveCredential(config.id, fetch_from(load, Request), check=CHECK)
    return build_with(config, BearerPoster(endpoint, bearer, is_expired))


def build_endpoint(config: UpstreamConfig, session: aiohttp.ClientSession) -> Endpoint:
    """The location's host: global, multi-region or regional."""
    assert config.region is not None
    own = credential_headers(None, config.bearer)
    base_url = f"https://{host_of(config.region)}"
    return Endpoint(config, session, base_url=base_url, own=own, foreign_prefix=FOREIGN_PREFIX)


def build_with(config: UpstreamConfig, poster: Poster) -> HttpUpstream:
    """The upstream around a way to show its credential."""
    prefix = f"/v1/projects/{config.project}/locations/{config.region}/publishers/anthropic/models/"
    return HttpUpstream(
        config.id, "vertex", "vertex", path_of=partial(path_of, prefix), poster=poster, body_bytes_max=BODY_BYTES_MAX
    )


def host_of(region: str) -> str:
    """Source: wire facts of the backends, section 3."""
    if region == "global":
        return "aiplatform.googleapis.com"
    if region in MULTI_REGIONS:
        return f"aiplatform.{region}.rep.googleapis.com"
    return f"{region}-aiplatform.googleapis.com"


def path_of(prefix: str, request: UpstreamRequest) -> str:
    """`@` of a dated model id stays raw; counting has a path of its own, with the model in the body."""
    if request.operation == "count_tokens":
        return prefix + "count-tokens:rawPredict"
    return prefix + quote(request.model, safe="@") + (":streamRawPredict" if request.stream else ":rawPredict")


def fetch_from(
    load: Callable[[], GoogleCredentials],
    open_transport: Callable[[], Any],
    *,
    unix_seconds: Callable[[], float] = time.time,
) -> Callable[[bool], Lease[str]]:
    """`LiveCredential`'s fetch from google-auth. Raises what google-auth raises."""
    loaded: GoogleCredentials | None = None

    def fetch(renew: bool) -> Lease[str]:
        nonlocal loaded
        if renew or loaded is None:
            loaded = load()
        loaded.refresh(open_transport())
        if loaded.token is None:
            raise ValueError("a refresh gave no token")
        end = loaded.expiry.replace(tzinfo=UTC).timestamp() if loaded.expiry is not None else float("inf")
        return Lease(loaded.token, expires_at(end, unix_seconds))

    return fetch


def is_expired(answer: HttpAnswer, body: bytes) -> bool:
    """Google says no more than that it does not know the caller."""
    return answer.status == 401 and b"UNAUTHENTICATED" in body
