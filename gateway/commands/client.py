"""Asks a running gateway over HTTP. Knows the two headers and the errors, not what is asked."""

import contextlib
import json
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import msgspec

from gateway.commands.address import gateway_url
from gateway.commands.output import EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, CommandFailed
from gateway.config.values import is_loopback
from gateway.contract import ADMIN_PREFIX, IDEMPOTENCY_HEADER

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024

T = TypeVar("T")


class GatewayRefused(CommandFailed):
    """The gateway said no: with which status, and the members of its envelope's `error`."""

    def __init__(self, message: str, status: int, error: dict[str, Any], exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(message, exit_code)
        self.status = status
        self.error = error


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """One gateway and the credential to show it."""

    url: str
    credential: str | None = field(default=None, repr=False)
    timeout_seconds: float = TIMEOUT_SECONDS

    def read(self, path: str, kind: type[T], **query: str | int | None) -> T:
        """GET `path` below the operator prefix. Raises CommandFailed."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        return self._decoded(self._ask("GET", f"{path}?{asked}" if asked else path, None), kind)

    def send(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """POST `body` to `path` below the operator prefix. Raises CommandFailed."""
        return self._decoded(self._ask("POST", path, json.dumps(body).encode()), kind)

    def order(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """As `send`, under a key by which the gateway knows it again: without an answer it is sent once more."""
        content, key = json.dumps(body).encode(), uuid.uuid4().hex
        try:
            answer = self._ask("POST", path, content, key)
        except CommandFailed as failed:
            if failed.exit_code != EXIT_UNREACHABLE:
                raise
            answer = self._ask("POST", path, content, key)
        return self._decoded(answer, kind)

    def copy(self, path: str, write: Callable[[bytes], object]) -> None:
        """GET `path` and write it down piece by piece, however long it is. Raises CommandFailed."""
        with self._answer("GET", path, None, {}) as answer:
            while piece := answer.read(PIECE_BYTES):
                write(piece)

    def _ask(self, method: str, path: str, body: bytes | None, idempotency: str | None = None) -> bytes:
        more = {} if idempotency is None else {IDEMPOTENCY_HEADER: idempotency}
        with self._answer(method, path, body, more) as answer:
            content = answer.read(ANSWER_BYTES_MAX + 1)
        if len(content) > ANSWER_BYTES_MAX:
            raise CommandFailed(f"the answer of {self.url} is larger than {ANSWER_BYTES_MAX} bytes; ask for less")
        return content

    @contextlib.contextmanager
    def _answer(self, method: str, path: str, body: bytes | None, more: dict[str, str]) -> Generator[HTTPResponse]:
        headers = self.headers(body) | more
        request = Request(gateway_url(self.url) + ADMIN_PREFIX + path, data=body, headers=headers, method=method)
        try:
            with self._opener().open(request, timeout=self.timeout_seconds) as answer:
                yield answer
        except HTTPError as error:
            with error:
                raise self.refusal(error.code, error.read(ANSWER_BYTES_MAX)) from None
        except BrokenPipeError:  # of whoever reads what is written down: connecting fails as URLError
            raise
        except (HTTPException, OSError, ValueError) as error:
            raise self.unreachable(getattr(error, "reason", error)) from None

    def _decoded(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise self.unexpected(error) from None

    def headers(self, body: bytes | None = None) -> dict[str, str]:
        """Of a request. Raises CommandFailed."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        credential = self.credential
        if credential:
            if not credential.isascii() or not credential.isprintable() or " " in credential:
                raise CommandFailed("RINGFENCE_CREDENTIAL has characters that a header cannot carry", EXIT_USAGE)
            headers["x-api-key"] = credential
        return headers

    def _opener(self) -> OpenerDirector:
        """Never follows a redirect, which could carry the credential elsewhere; no proxy towards this machine."""
        own = is_loopback(urlsplit(self.url).hostname or "")
        return build_opener(_NoRedirect(), *([ProxyHandler({})] if own else []))

    def refusal(self, status: int, content: bytes) -> GatewayRefused:
        """What an answer that is none says."""
        error = _error_of(content)
        if status == 401:
            known = "does not know this credential" if self.credential else "asks for a credential"
            wanted = "set RINGFENCE_CREDENTIAL to one that it knows; most commands need an operator's"
            return GatewayRefused(f"{self.url} {known}: {wanted}", status, error)
        if status == 403:
            message = (
                f"{self.url} refused: the credential is no operator's; make one with `credentials create --operator`"
            )
            return GatewayRefused(message, status, error)
        return GatewayRefused(f"{self.url} answered {status}: {_message_of(error)}", status, error)

    def unreachable(self, cause: object) -> CommandFailed:
        """There was no answer."""
        message = f"no answer from {self.url}: {cause}; is `ringfence serve` running there? (--url or RINGFENCE_URL)"
        return CommandFailed(message, EXIT_UNREACHABLE)

    def unexpected(self, problem: msgspec.MsgspecError) -> CommandFailed:
        """The answer cannot be read."""
        message = f"{self.url} answered something else than this command expects ({problem}); is it this gateway?"
        return CommandFailed(message)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Envelope(msgspec.Struct):
    error: dict[str, Any]


def _error_of(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=_Envelope).error
    except msgspec.MsgspecError:
        return {}


def _message_of(error: dict[str, Any]) -> str:
    said = error.get("message")
    if not isinstance(said, str):
        return "no reason given"
    return "".join(char if char.isprintable() else "\ufffd" for char in said)


def path_part(text: str) -> str:
    """An id as one part of a path."""
    return quote(text, safe="")
