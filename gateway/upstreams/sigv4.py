# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
"""Requests signed for AWS (Signature Version 4) by botocore, with the credentials of its own chain.

Nothing is signed but what leaves: the exact address and bytes, and of the headers those that mean something to AWS, so
that a proxy on the way may touch the others. botocore has no types, hence the first line.
"""

import asyncio
from collections.abc import Callable
from copy import copy
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError
from botocore.session import Session
from multidict import CIMultiDict
from yarl import URL

from gateway.config import UpstreamConfig
from gateway.core.wire.headers import first
from gateway.ports import UpstreamRequest
from gateway.upstreams.credentials import Lease, LiveCredential, send_renewing
from gateway.upstreams.http import PLAIN_BODY_BYTES_MAX, Endpoint, HttpAnswer, unwritable

CHECK = "the AWS credentials of the gateway (environment, profile, container or instance role)"

_SIGNED_PREFIXES = ("x-amz-", "x-amzn-bedrock-", "anthropic-", "content-type", "host")
_EXPIRED = (b"ExpiredToken", b"security token included in the request is expired", b"Signature expired")


def load_chain() -> Credentials | None:
    """Whatever the environment, files and roles of this machine give, read anew. May block."""
    return Session().get_credentials()


def fetch_from(load: Callable[[], Credentials | None]) -> Callable[[bool], Lease[ReadOnlyCredentials]]:
    """`LiveCredential`'s fetch from a botocore chain. Raises `NoCredentialsError`, and what the chain raises."""
    loaded: Any = None

    def fetch(renew: bool) -> Lease[ReadOnlyCredentials]:
        nonlocal loaded
        if renew or loaded is None:
            loaded = load()
        if loaded is None:
            raise NoCredentialsError()
        frozen: ReadOnlyCredentials = loaded.get_frozen_credentials()
        # Of a copy: the chain puts the next credentials, and their end, into the object that it gave.
        # Only those that end can say when.
        return Lease(frozen, getattr(copy(loaded), "refresh_needed", _never))

    return fetch


def aws_credential(
    upstream_id: str, load: Callable[[], Credentials | None] = load_chain
) -> LiveCredential[ReadOnlyCredentials]:
    """The credential of an upstream that signs."""
    return LiveCredential(upstream_id, fetch_from(load), check=CHECK)


def signing_poster(config: UpstreamConfig, endpoint: Endpoint, *, service: str) -> "SigningPoster":
    """Signs with what botocore's own chain finds."""
    assert config.region is not None
    return SigningPoster(endpoint, aws_credential(config.id), service=service, region=config.region)


class SigningPoster:
    """Posts with a signature."""

    def __init__(
        self, endpoint: Endpoint, credential: LiveCredential[ReadOnlyCredentials], *, service: str, region: str
    ) -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._service = service
        self._region = region

    async def post(self, path: str, request: UpstreamRequest) -> HttpAnswer:
        """Raises as `Endpoint.exchange` does, and UPSTREAM_UNREACHABLE without credentials."""
        url = self._endpoint.url(path)

        async def attempt(credentials: ReadOnlyCredentials) -> HttpAnswer:
            headers = self._endpoint.outgoing(request.headers)
            headers["host"] = url.host_port_subcomponent or ""
            try:
                if len(request.body) > PLAIN_BODY_BYTES_MAX:
                    await asyncio.to_thread(self._sign, url, headers, body=request.body, credentials=credentials)
                else:
                    self._sign(url, headers, body=request.body, credentials=credentials)
            except ValueError as error:
                raise unwritable(self._endpoint.id, error) from error
            return await self._endpoint.exchange(url, headers, request.body)

        return await send_renewing(self._credential, attempt, is_expired)

    def _sign(self, url: URL, headers: CIMultiDict[str], *, body: bytes, credentials: ReadOnlyCredentials) -> None:
        """Raises `ValueError` for a header that has no bytes; botocore would wrap it in something it cannot sign."""
        signed = CIMultiDict((name, value) for name, value in headers.items() if name.startswith(_SIGNED_PREFIXES))
        "".join(signed.values()).encode()
        wanted = AWSRequest(method="POST", url=str(url), headers=signed, data=body)
        SigV4Auth(credentials, self._service, self._region).add_auth(wanted)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in wanted.headers:
                headers[name.lower()] = wanted.headers[name]


def is_expired(answer: HttpAnswer, body: bytes) -> bool:
    """Does a refusal say that the session or the signature has ended, in its header or in its body?"""
    error_type = first(answer.headers, "x-amzn-errortype") or ""
    return error_type.startswith("ExpiredToken") or any(mark in body for mark in _EXPIRED)


def _never(_seconds: float) -> bool:
    return False
