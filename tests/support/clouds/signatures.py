"""Is a request signed right? Recomputed by botocore over exactly what arrived."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.clouds.cloud import Rejected
from tests.support.upstream import Received

AGE_MAX = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may sign."""

    access_key: str = "AKIDFAKEFAKEFAKEFAKE"
    secret_key: str = "fake/secret+key"
    session_token: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """For what a signature holds."""

    region: str
    service: str


def check_signature(received: Received, keys: Keys, scope: Scope) -> None:
    """Raises Rejected when the signature is not the one that these keys give."""
    told = _AUTHORIZATION.fullmatch(received.header("authorization") or "")
    if told is None:
        raise Rejected(403, "credential", "the authorization header is not a signature")
    stamp = received.header("x-amz-date") or ""
    expected = f"{keys.access_key}/{stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    if told[1] != expected:
        raise Rejected(403, "credential", f"the credential's scope is {told[1]} and not {expected}")
    signed = told[2].split(";")
    _check_signed_headers(received, signed, keys)
    _check_age(stamp)
    if _signature(received, signed, keys, scope) != told[3]:
        raise Rejected(403, "credential", "the signature does not match what arrived")


def _check_signed_headers(received: Received, signed: list[str], keys: Keys) -> None:
    amazon = {name.lower() for name, _ in received.headers if name.lower().startswith("x-amz-")}
    missing = sorted(({"host", "x-amz-date"} | amazon) - set(signed))
    if missing:
        raise Rejected(403, "credential", f"headers are present that are not signed: {', '.join(missing)}")
    if received.header("x-amz-security-token") != keys.session_token:
        raise Rejected(403, "credential", "the session token is not the one of these keys")
    hashed = received.header("x-amz-content-sha256")
    if hashed is not None and hashed != hashlib.sha256(received.body).hexdigest():
        raise Rejected(403, "credential", "x-amz-content-sha256 is not the hash of the body")


def _check_age(stamp: str) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Rejected(403, "credential", f"x-amz-date is not a time: {stamp!r}") from None
    if abs(datetime.now(UTC) - signed_at) > AGE_MAX:
        raise Rejected(403, "credential", f"signed at {stamp}, which is not now")


def _signature(received: Received, signed: list[str], keys: Keys, scope: Scope) -> str:
    request = AWSRequest(
        method=received.method, url=f"http://{received.header('host')}{received.raw_path}", data=received.body
    )
    for name, value in received.headers:
        if name.lower() in signed:
            request.headers.add_header(name, value)
    request.context["timestamp"] = received.header("x-amz-date")
    signer = SigV4Auth(Credentials(keys.access_key, keys.secret_key), scope.service, scope.region)
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))
