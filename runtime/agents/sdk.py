"""Requests of agents by the official SDK on one HTTP client for the whole process. Who asks is said by `client.py`.

The SDK's raw events are used, not its models: blocks it does not know go back as they came, and a request costs half
the processor time. It retries nothing by itself; `asking.py` does, because it knows the run. Proxies of the environment
are left out of it, redirects are not followed and cookies not kept: the bearer goes to the gateway and nowhere else.
"""

import ssl
from collections.abc import AsyncGenerator, Mapping
from http.cookiejar import DefaultCookiePolicy

import httpx2
import msgspec
from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic, AsyncStream, DefaultAioHttpClient, omit

from gateway.contract import MESSAGES_PATH, REASON_HEADER, REASON_MEMBER
from runtime.agents.refusals import OwnWords, Refusal, Stalled

CONNECT_SECONDS = 10.0
CONNECTIONS_MAX = 1_024
_NO_OTHER_BEARER = {"authorization": omit, "content-type": "application/json"}
"""The SDK would send the credential that it was made with beside the run's."""


class _Error(msgspec.Struct):
    reason: str = msgspec.field(default="", name=REASON_MEMBER)


class _Body(msgspec.Struct):
    error: _Error


class SdkClient:
    """Holds connections; `close` when no attempt runs any more."""

    def __init__(self, base_url: str) -> None:
        self._http = DefaultAioHttpClient(
            base_url=base_url,
            verify=_nobody_trusted(),
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
        )
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._sdk = AsyncAnthropic(
            api_key="of-the-run",
            base_url=base_url,
            max_retries=0,
            http_client=self._http,
            default_headers={"user-agent": "ringfence-runtime"},
        )

    def reach(self, base_url: str) -> None:
        """From now on the gateway is there: where it listens is known only once it does."""
        self._http.base_url = base_url
        self._sdk.base_url = base_url

    async def stream(self, headers: Mapping[str, str], body: bytes, idle_seconds: float) -> AsyncGenerator[object]:
        """As `GatewayClient.stream`."""
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS, read=idle_seconds)
        try:
            events = await self._sdk.post(
                MESSAGES_PATH,
                content=body,
                cast_to=object,
                stream=True,
                stream_cls=AsyncStream[object],
                options={"headers": {**_NO_OTHER_BEARER, **headers}, "timeout": timeout},
            )
            async with events:
                if REASON_HEADER in events.response.headers:
                    yield OwnWords()
                async for event in events:
                    yield event
        except httpx2.ReadTimeout:
            raise Stalled(idle_seconds) from None
        except APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ReadTimeout):
                raise Stalled(idle_seconds) from None
            raise Refusal(message=f"the gateway could not be reached: {_cause(error)}") from None
        except APIStatusError as error:
            raise _refusal(error) from None
        except httpx2.HTTPError as error:
            raise Refusal(message=f"the connection to the gateway broke: {_cause(error)}") from None
        except ValueError as error:
            raise Refusal(message=f"the answer could not be read: {error}") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk.close()


def _nobody_trusted() -> ssl.SSLContext:
    """A gateway reaches itself in plain HTTP, so no authority is to vouch for anybody; reading them all takes 20 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _refusal(error: APIStatusError) -> Refusal:
    """In a stream that has begun, status and headers are those of its beginning: only the error says why it ended."""
    begun = error.response.is_success
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    return Refusal(
        status=None if begun else error.status_code,
        type=str(error.type or ""),
        message=error.api_message or error.message,
        headers={REASON_HEADER: _reason_of(error)} if begun else headers,
    )


def _reason_of(error: APIStatusError) -> str:
    try:
        return msgspec.convert(error.body, _Body).error.reason
    except msgspec.ValidationError:
        return ""


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
