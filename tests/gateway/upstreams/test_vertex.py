"""Google Cloud as an upstream: host and path by location and model, access tokens of google-auth's own credentials."""

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from google.auth.credentials import Credentials

from gateway.config import Secret, UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.upstreams.credentials import MARGIN_SECONDS, PAUSE_SECONDS, BearerPoster, LiveCredential
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.vertex import CHECK, build, build_endpoint, build_with, fetch_from, host_of, is_expired
from tests.gateway.upstreams.exchanges import NAMES, assert_as_recorded, exchange, recorded, request
from tests.support.clock import FakeClock
from tests.support.upstream import Answer, ScriptedUpstream, json_answer

LIFE_SECONDS = 3600.0
UNAUTHENTICATED = b'[{"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}]'


class ServiceAccount(Credentials):
    """google-auth credentials that give `token-1`, `token-2`, ... each for an hour of the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clock = clock
        self.refreshes = 0
        self.transports: list[Any] = []

    def refresh(self, request: Any) -> None:
        self.transports.append(request)
        self.refreshes += 1
        self.token = f"token-{self.refreshes}"
        end = datetime.fromtimestamp(self.clock.unix_ms() / 1000, UTC) + timedelta(seconds=LIFE_SECONDS)
        self.expiry = end.replace(tzinfo=None)


class Google:
    """An upstream on Google Cloud with its clock and its service account."""

    def __init__(self, server: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
        self.clock = FakeClock()
        self.account = ServiceAccount(self.clock)
        self.loads = 0
        fetch = fetch_from(self.load, lambda: "transport", unix_seconds=lambda: self.clock.unix_ms() / 1000)
        self.bearer = LiveCredential("cloud", fetch, check=CHECK, monotonic=self.clock.monotonic)
        named = config(server.base_url)
        self.upstream: HttpUpstream = build_with(
            named, BearerPoster(build_endpoint(named, session), self.bearer, is_expired)
        )

    def load(self) -> Any:
        self.loads += 1
        return self.account


def config(base_url: str | None = None, **fields: Any) -> UpstreamConfig:
    located: dict[str, Any] = {"region": "us-east5", "project": "acme-ai"}
    return UpstreamConfig("cloud", "vertex", base_url, **(located | fields))


@pytest.mark.parametrize("name", NAMES)
async def test_exchange_is_the_one_of_the_sdk(
    name: str, server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    google = Google(server, session)
    await assert_as_recorded(google.upstream, server, recorded("vertex", name))
    assert server.received[0].header("authorization") == "Bearer token-1"
    assert google.account.transports == ["transport"]


async def test_token_is_kept_until_shortly_before_its_end(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    google = Google(server, session)
    server.responder = lambda _: json_answer({})
    await exchange(google.upstream, request())
    await exchange(google.upstream, request())
    google.clock.advance(LIFE_SECONDS - MARGIN_SECONDS + 1)
    await exchange(google.upstream, request())
    shown = [received.header("authorization") for received in server.received]
    assert shown == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    assert google.loads == 1


async def test_token_that_google_does_not_know_any_more_is_replaced_once(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    google = Google(server, session)
    await google.bearer.current()
    google.clock.advance(PAUSE_SECONDS)
    server.queue(Answer(401, (), [UNAUTHENTICATED]), json_answer({}))
    answer, _ = await exchange(google.upstream, request())
    assert answer.status == 200
    assert server.received[1].header("authorization") == "Bearer token-2"
    assert google.loads == 2


async def test_permission_that_is_missing_renews_nothing(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    google = Google(server, session)
    await google.bearer.current()
    google.clock.advance(PAUSE_SECONDS)
    server.queue(Answer(403, (), [b'{"error": {"status": "PERMISSION_DENIED"}}']))
    answer, _ = await exchange(google.upstream, request())
    assert (answer.status, google.account.refreshes) == (403, 1)


class Fixed(Credentials):
    """google-auth credentials whose refresh leaves them as they are."""

    def refresh(self, request: Any) -> None:
        """Nothing changes."""


def test_token_without_an_end_never_ends() -> None:
    account = Fixed()  # type: ignore[no-untyped-call]
    account.token = "forever"  # type: ignore[assignment]
    lease = fetch_from(lambda: account, object, unix_seconds=lambda: 0.0)(False)  # type: ignore[arg-type,return-value]
    assert lease.value == "forever"
    assert not lease.expires_within(1e12)


async def test_credentials_that_give_no_token_say_what_to_check() -> None:
    fetch = fetch_from(Fixed, object)  # type: ignore[arg-type]
    with pytest.raises(
        GatewayError, match=r"'cloud' has no usable credential .* check the Google credentials"
    ) as failure:
        await LiveCredential("cloud", fetch, check=CHECK).current()
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE


async def test_bearer_of_the_configuration_is_shown_and_quota_is_ours(
    server: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    server.queue(json_answer({}))
    upstream = build(config(server.base_url, bearer=Secret("own")), session)
    await exchange(upstream, request([("authorization", "Bearer theirs"), ("X-Goog-User-Project", "theirs")]))
    assert server.received[0].header("authorization") == "Bearer own"
    assert "theirs" not in str(server.received[0].headers)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
    ],
)
async def test_location_is_in_host_and_path(region: str, host: str, session: aiohttp.ClientSession) -> None:
    assert host_of(region) == host
    named = config(region=region, bearer=Secret("own"))
    upstream = build_with(named, endpoint := build_endpoint(named, session))
    path = upstream.path_of(request(model="claude-opus-5-5", stream=False))
    assert path == f"/v1/projects/acme-ai/locations/{region}/publishers/anthropic/models/claude-opus-5-5:rawPredict"
    assert str(endpoint.url(path)) == f"https://{host}{path}"


@pytest.mark.parametrize(
    ("model", "segment"),
    [("claude-haiku-4-5@20251001", "claude-haiku-4-5@20251001"), ("a;b/c?d", "a%3Bb%2Fc%3Fd")],
)
async def test_model_keeps_its_at_sign_and_nothing_else_that_parts_a_path(
    model: str, segment: str, session: aiohttp.ClientSession
) -> None:
    upstream = build(config(bearer=Secret("own")), session)
    assert upstream.path_of(request(model=model)).endswith(f"/publishers/anthropic/models/{segment}:streamRawPredict")
    assert (upstream.id, upstream.backend, upstream.shape) == ("cloud", "vertex", "vertex")
