"""Asks a running gateway over HTTP. Knows the two headers and the errors, not what is asked."""

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import msgspec

from gateway.commands.address import gateway_url
from gateway.commands.output import EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, CommandFailed
from gateway.config.values import is_loopback
from gateway.contract import ADMIN_PREFIX

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 32 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """One gateway and the credential to show it."""

    url: str
    credential: str | None = field(default=None, repr=False)

    def read(self, path: str, kind: type[T], **query: str | int | None) -> T:
        """GET `path` below the operator prefix. Raises CommandFailed."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        return self._ask("GET", f"{path}?{asked}" if asked else path, None, kind)

    def send(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """POST `body` to `path` below the operator prefix. Raises CommandFailed."""
        return self._ask("POST", path, json.dumps(body).encode(), kind)

    def _ask(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T:
        request = Request(
            gateway_url(self.url) + ADMIN_PREFIX + path, data=body, headers=self._headers(body), method=method
        )
        try:
            with self._opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
                content = answer.read(ANSWER_BYTES_MAX + 1)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (URLError, OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            message = (
                f"no answer from {self.url}: {cause}; is `ringfence serve` running there? (--url or RINGFENCE_URL)"
            )
            raise CommandFailed(message, EXIT_UNREACHABLE) from None
        if len(content) > ANSWER_BYTES_MAX:
            raise CommandFailed(f"the answer of {self.url} is larger than {ANSWER_BYTES_MAX} bytes; ask for less")
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            message = f"{self.url} answered something else than this command expects ({error}); is it this gateway?"
            raise CommandFailed(message) from None

    def _headers(self, body: bytes | None) -> dict[str, str]:
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

    def _refusal(self, error: HTTPError) -> CommandFailed:
        said = _message_of(error.read(ANSWER_BYTES_MAX))
        if error.code == 401:
            known = "does not know this credential" if self.credential else "asks for a credential"
            return CommandFailed(f"{self.url} {known}: set RINGFENCE_CREDENTIAL to an operator's", EXIT_REFUSED)
        if error.code == 403:
            message = (
                f"{self.url} refused: the credential is no operator's; make one with `credentials create --operator`"
            )
            return CommandFailed(message, EXIT_REFUSED)
        return CommandFailed(f"{self.url} answered {error.code}: {said}", EXIT_REFUSED)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Error(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct):
    error: _Error


def _message_of(content: bytes) -> str:
    try:
        said = msgspec.json.decode(content, type=_Envelope).error.message
    except msgspec.MsgspecError:
        return "no reason given"
    return "".join(char if char.isprintable() else "\ufffd" for char in said)


def path_part(text: str) -> str:
    """An id as one part of a path."""
    return quote(text, safe="")
