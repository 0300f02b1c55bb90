"""Errors in every dialect: an upstream's error answer read as a `Fault`, a `Fault` written as a client expects it.

Not what our own refusals are (`web/answers.py`), and not the frames of a stream (`sse.py`, `eventstream.py`).

What is shown of an upstream's words:
    the Messages API's envelope     its type and message, whichever backend sent it: clients know its wordings
    a cloud's own shape, 400 413 429    its message, and a `capability_rejected:` token where the cause is known
    a cloud's own shape, all else       a sentence of ours: those texts speak of the operator's account
    a page, or nothing readable         a sentence of ours
All of it through `redact`. A 401 or 403 says whose credential was refused, since the client's own never goes upstream.

A prompt that a cloud calls too long is answered with exactly `Input is too long.`, the newest form known of the two
(the other is `capability_rejected: prompt_too_long`). Claude Code 2.1.330 was seen to take either, and Bedrock's own
sentence, as one request and the sign to compact; this one also reads well to a person.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.contract import REQUEST_ID_HEADER, SHOULD_RETRY_HEADER, error_envelope
from gateway.core.wire.errorbody import FAULT_BYTES_MAX, Said, is_clean, read_envelope, read_error
from gateway.core.wire.headers import first
from gateway.core.wire.redaction import redact as redact
from gateway.core.wire.shapes import Shape

MESSAGE_CHARS_MAX = 4_000

_INVALID = "invalid_request_error"
_AUTHENTICATION = "authentication_error"
_BILLING = "billing_error"
_PERMISSION = "permission_error"
_NOT_FOUND = "not_found_error"
_CONFLICT = "conflict_error"
_TOO_LARGE = "request_too_large"
_RATE = "rate_limit_error"
_API = "api_error"
_TIMEOUT = "timeout_error"
_OVERLOADED = "overloaded_error"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the Messages API would put it. `headers` are those that mean the same in every dialect."""

    status: int
    error_type: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A fault in a client's dialect; the content type is among the headers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


_TYPE_OF_STATUS = {
    400: _INVALID,
    401: _AUTHENTICATION,
    402: _BILLING,
    403: _PERMISSION,
    404: _NOT_FOUND,
    408: _TIMEOUT,
    409: _CONFLICT,
    413: _TOO_LARGE,
    429: _RATE,
    451: _PERMISSION,
    500: _API,
    504: _TIMEOUT,
    529: _OVERLOADED,
}
_STATUS_OF_TYPE = {kind: status for status, kind in _TYPE_OF_STATUS.items() if status not in (408, 451)}
_CLOUD_STATUS = {408: 504, 424: 500, 503: 529}
"""Statuses that mean another one at the Messages API."""

_AWS: dict[str, tuple[int, str]] = {
    "AccessDenied": (403, _PERMISSION),
    "Conflict": (409, _CONFLICT),
    "InternalFailure": (500, _API),
    "InternalServer": (500, _API),
    "ModelNotReady": (429, _RATE),
    "ModelTimeout": (504, _TIMEOUT),
    "ResourceNotFound": (404, _NOT_FOUND),
    "ServiceQuotaExceeded": (400, _RATE),
    "ServiceUnavailable": (529, _OVERLOADED),
    "Throttling": (429, _RATE),
    "TooManyRequests": (429, _RATE),
    "Validation": (400, _INVALID),
}
"""Without `Exception` at the end. What is not here (expired tokens, bad signatures) goes by its HTTP status."""
_GOOGLE: dict[str, tuple[int, str]] = {
    "ABORTED": (409, _CONFLICT),
    "ALREADY_EXISTS": (409, _CONFLICT),
    "DEADLINE_EXCEEDED": (504, _TIMEOUT),
    "FAILED_PRECONDITION": (400, _INVALID),
    "INTERNAL": (500, _API),
    "INVALID_ARGUMENT": (400, _INVALID),
    "NOT_FOUND": (404, _NOT_FOUND),
    "OUT_OF_RANGE": (400, _INVALID),
    "PERMISSION_DENIED": (403, _PERMISSION),
    "RESOURCE_EXHAUSTED": (429, _RATE),
    "UNAUTHENTICATED": (401, _AUTHENTICATION),
    "UNAVAILABLE": (529, _OVERLOADED),
}
_EXCEPTION_OF_TYPE = {
    _INVALID: "Validation",
    _AUTHENTICATION: "AccessDenied",
    _BILLING: "ServiceQuotaExceeded",
    _PERMISSION: "AccessDenied",
    _NOT_FOUND: "ResourceNotFound",
    _CONFLICT: "Conflict",
    _TOO_LARGE: "Validation",
    _RATE: "Throttling",
    _API: "InternalServer",
    _TIMEOUT: "ModelTimeout",
    _OVERLOADED: "ServiceUnavailable",
}
_WORD_OF_TYPE = {
    _INVALID: "INVALID_ARGUMENT",
    _AUTHENTICATION: "UNAUTHENTICATED",
    _BILLING: "RESOURCE_EXHAUSTED",
    _PERMISSION: "PERMISSION_DENIED",
    _NOT_FOUND: "NOT_FOUND",
    _CONFLICT: "ABORTED",
    _TOO_LARGE: "INVALID_ARGUMENT",
    _RATE: "RESOURCE_EXHAUSTED",
    _API: "INTERNAL",
    _TIMEOUT: "DEADLINE_EXCEEDED",
    _OVERLOADED: "UNAVAILABLE",
}
_STREAM_EXCEPTION_OF_TYPE = {
    **dict.fromkeys((_INVALID, _AUTHENTICATION, _BILLING, _PERMISSION, _NOT_FOUND, _TOO_LARGE), "validationException"),
    _RATE: "throttlingException",
    _API: "internalServerException",
    _TIMEOUT: "modelTimeoutException",
    _OVERLOADED: "serviceUnavailableException",
}
_BEDROCK_STATUS = {504: 408, 529: 503}
"""What Bedrock itself answers: botocore repeats a 503 and not a 529. It repeats no 408, whose model may have billed."""
_GOOGLE_STATUS = {529: 503}

_SHOWN = frozenset({400, 413, 429})
"""Statuses at which a cloud's own words are about the request."""
_CREDENTIAL = frozenset({401, 403})
_CREDENTIAL_CODES = frozenset({_AUTHENTICATION, "UNAUTHENTICATED", "PERMISSION_DENIED"})

_TOO_LONG = "Input is too long."
_TOO_LONG_WORDS = ("input is too long", "payload size exceeds the limit")
_TOKENS = (
    ("on-demand throughput isn", "inference_profile_required"),
    ("extra inputs are not permitted", "unknown_field"),
    ("invalid beta flag", "beta"),
    ("`anthropic-beta` header", "beta"),
    ("role 'system' is not supported", "mid_conversation_system"),
    ("url sources are not supported", "url_source"),
)
"""A part of a cloud's sentence, and what it says is missing."""

_NAMES: dict[Shape, str] = {"anthropic": "The upstream", "bedrock": "Amazon Bedrock", "vertex": "Google Cloud"}
_COPY = {
    400: "{} rejected the request and gave no reason that can be shown. Ask the gateway's operator.",
    401: "{} refused the gateway's own credential, not yours. Ask the gateway's operator to renew it.",
    403: "{} refused the gateway's own credential for this request, not yours. Ask the gateway's operator.",
    404: "{} does not have this model where the gateway asks for it. Choose another or ask the gateway's operator.",
    413: "The request is too large for {}. Make it smaller, for example by compacting the conversation.",
    429: "{} is limiting the gateway's requests. Try again in a moment.",
    504: "{} did not answer in time. Send the request again.",
    529: "{} is overloaded. Try again in a moment.",
}
_COPY_4XX = "{} rejected the request (status {}). Ask the gateway's operator."
_COPY_5XX = "{} failed (status {}). Send the request again, and ask the gateway's operator if it goes on."

_SURVIVING = frozenset({"retry-after", "retry-after-ms", SHOULD_RETRY_HEADER})
_SURVIVING_PREFIX = "anthropic-ratelimit-"

_plain_answer = re.compile(
    rb'\s*\{\s*"(?:id|model|role|content|usage|stop_reason|input_tokens|inputTokens|type"\s*:\s*"message)"'
)


def read_fault(shape: Shape, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> Fault:
    """An upstream's error answer. Never raises, whatever the body is."""
    return _build_fault(shape, status, headers, read_error(body))


def passes(dialect: Shape, shape: Shape, body: bytes, *, status: int | None = None) -> bool:
    """May this error body go to the client as it came? It is one of its dialect, and names nothing of the operator's.

    `status`, where it is known, also holds back a cloud's words on a credential that the body does not show to be such.
    """
    said = read_error(body)
    if said is None or said.nested or said.code in _CREDENTIAL_CODES:
        return False
    if said.form == "anthropic":
        return dialect != "bedrock" and status != 401 and not said.wrapped and is_clean(body)
    in_dialect = said.form == shape == dialect and (not said.wrapped or dialect == "vertex")
    return in_dialect and status not in _CREDENTIAL and is_clean(body)


def write_fault(dialect: Shape, fault: Fault, request_id: str) -> Written:
    """The answer to a client: its dialect's status, headers and body, with the same message in each."""
    shared = (("Content-Type", "application/json"), (REQUEST_ID_HEADER, request_id), *fault.headers)
    if dialect == "bedrock":
        name = _exception_name(fault)
        headers = (*shared, ("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", name))
        return Written(_BEDROCK_STATUS.get(fault.status, fault.status), headers, _encode({"message": fault.message}))
    if dialect == "vertex":
        status = _GOOGLE_STATUS.get(fault.status, fault.status)
        word = _WORD_OF_TYPE.get(fault.error_type) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        return Written(status, shared, _encode({"error": {"code": status, "message": fault.message, "status": word}}))
    return Written(fault.status, shared, error_envelope(fault.error_type, fault.message, request_id))


def read_exception(exception_type: str, message: str) -> tuple[str, str]:
    """Anthropic error type and message to show, of an exception or error in an AWS event stream."""
    envelope = read_envelope(message)
    if envelope is not None:
        return envelope.code, _clip(envelope.message)
    status, error_type = _AWS.get(_bare_name(exception_type), (500, _API))
    return error_type, _with_token(message) or _own_words("bedrock", status)


def exception_of(error_type: str) -> str:
    """The exception that says an Anthropic error type in an AWS event stream; it has only six of them."""
    return _STREAM_EXCEPTION_OF_TYPE.get(error_type, "modelStreamErrorException")


def embedded_fault(shape: Shape, body: bytes) -> Fault | None:
    """The error that a 200 holds, with the status that it should have had; None when the body is something else.

    An ordinary answer is told by its first key and costs one match.
    """
    if _plain_answer.match(body) is not None:
        return None
    said = read_error(body)
    return None if said is None else _build_fault(shape, 200, (), said)


def _build_fault(shape: Shape, status: int, headers: Sequence[tuple[str, str]], said: Said | None) -> Fault:
    status, error_type = _classify(shape, status, first(headers, "x-amzn-errortype") or "", said)
    kept = [(name.lower(), value) for name, value in headers if _survives(name.lower())]
    if status == 401 and first(kept, SHOULD_RETRY_HEADER) is None:
        kept.append((SHOULD_RETRY_HEADER, "false"))  # Claude Code repeats a 401 for minutes
    return Fault(status, error_type, _shown(shape, status, said), tuple(kept))


def _classify(shape: Shape, status: int, exception: str, said: Said | None) -> tuple[int, str]:
    """Status and type at the Messages API: by what the error calls itself, else by its status.

    An envelope keeps the status that it came with, unless a cloud wrapped it up or a 200 brought it.
    """
    by_status = _by_status(shape, status)
    if status == 413:
        return by_status
    if said is None:
        return _AWS.get(_bare_name(exception), by_status)
    if said.form == "anthropic":
        own = _STATUS_OF_TYPE.get(said.code) if said.nested or status < 400 else None
        return own or by_status[0], said.code
    named = _AWS.get(_bare_name(exception)) or _AWS.get(_bare_name(said.code)) or _GOOGLE.get(said.code)
    if named is None and said.status is not None:
        return _by_status("bedrock", said.status)
    return named or by_status


def _by_status(shape: Shape, status: int) -> tuple[int, str]:
    if not 400 <= status <= 599:
        return 502, _API  # a redirect, or no HTTP status at all
    if shape != "anthropic":
        status = _CLOUD_STATUS.get(status, status)
    return status, _TYPE_OF_STATUS.get(status) or (_INVALID if status < 500 else _API)


def _bare_name(exception: str) -> str:
    """`com.amazon#throttlingException:http://...` -> `Throttling`."""
    name = exception.partition(":")[0].rpartition("#")[2].strip().removesuffix("Exception")
    return name[:1].upper() + name[1:]


def _exception_name(fault: Fault) -> str:
    if fault.status == 400 and fault.error_type == _RATE:
        return "ServiceQuotaExceededException"
    name = _EXCEPTION_OF_TYPE.get(fault.error_type) or ("Validation" if fault.status < 500 else "InternalServer")
    return name + "Exception"


def _survives(name: str) -> bool:
    return name in _SURVIVING or name.startswith(_SURVIVING_PREFIX)


def _shown(shape: Shape, status: int, said: Said | None) -> str:
    """The sentence for the client."""
    own = _own_words(shape, status)
    if said is None or not said.message:
        return own
    if said.form == "anthropic":
        return f"{own} It said: {_clip(said.message)}" if status in _CREDENTIAL else _clip(said.message)
    return _with_token(said.message) if status in _SHOWN else own


def _own_words(shape: Shape, status: int) -> str:
    copy = _COPY.get(status) or (_COPY_4XX if status < 500 else _COPY_5XX)
    return copy.format(_NAMES[shape], status)


def _with_token(message: str) -> str:
    """A cloud's own sentence, behind the token of what it lacks."""
    lower = message[:MESSAGE_CHARS_MAX].lower()
    if any(words in lower for words in _TOO_LONG_WORDS):
        return _TOO_LONG
    token = next((token for words, token in _TOKENS if words in lower), None)
    return _clip(message) if token is None else f"capability_rejected: {token} ({_clip(message)})"


def _clip(text: str) -> str:
    """Redacted, of bounded length, and sure to encode."""
    shown = redact(text[:FAULT_BYTES_MAX])[:MESSAGE_CHARS_MAX]
    return shown.encode("utf-8", "replace").decode()


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
