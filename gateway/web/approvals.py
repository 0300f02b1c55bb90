"""The operator paths under `/ringfence/v1` for approvals and for the registry of scripts. Reads and answers only."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal, get_args

import msgspec
from aiohttp import web

from gateway.boards.approvalboard import ApprovalBoard
from gateway.contract import ADMIN_PREFIX
from gateway.core.oversight.approvals import (
    WHY_CHARS_MAX,
    AlreadyDecided,
    ApprovalUnknown,
    Item,
    NotAllowed,
    Scope,
    State,
    outline,
)
from gateway.core.oversight.scripts import SHA256_CHARS, Approval, RegistryFull, Script, ScriptUnknown, is_sha256
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock, ScriptProfiler
from gateway.web.middlewares import CONTEXT

SHOWN = 50
SHOWN_MAX = 1_000
BODY_BYTES_MAX = 4 * 1024 * 1024
"""A script of the largest size, however it is escaped."""
NAME_CHARS_MAX = 200

Handler = Callable[[web.Request], Awaitable[web.Response]]
_Why = Annotated[str, msgspec.Meta(max_length=WHY_CHARS_MAX)]


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a decision."""

    verdict: Literal["approve", "deny", "revoke"]
    scope: Scope = "once"
    why: _Why = ""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of an approval for good: of a source, or of a hash alone."""

    why: Annotated[str, msgspec.Meta(min_length=1, max_length=WHY_CHARS_MAX)]
    script: str | None = None
    sha256: str | None = None
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)] | None = None


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the end of an approval for good."""

    why: _Why = ""


@dataclass(frozen=True, slots=True)
class ApprovalDesk:
    """Where approvals are kept, and what reads a script."""

    board: ApprovalBoard
    profile: ScriptProfiler
    clock: Clock

    def show(self, id: str) -> dict[str, object]:
        """One item with all that is known of its action, and the script that it is about."""
        item = self.board.book.find(id)
        if item is None:
            raise ApprovalUnknown(f"there is no approval {id[:64]}: it was never asked for, or is long decided")
        return self._shown(item)

    async def decide(self, id: str, word: Word, by: str) -> dict[str, object]:
        """Raises what `ApprovalBoard.decide` raises."""
        return self._shown(await self.board.decide(id, word.verdict, by=by, scope=word.scope, why=word.why))

    async def register(self, entry: Entry, by: str) -> Script:
        """Raises what `ScriptBoard.register` raises, and `ValueError`."""
        if (entry.script is None) == (entry.sha256 is None):
            raise ValueError("give one of script (its source) and sha256")
        digest, profile = entry.sha256 or "", None
        if entry.script is not None:
            digest = sha256(entry.script.encode("utf-8", "surrogatepass")).hexdigest()
            profile = await asyncio.to_thread(self.profile, entry.script)
        if not is_sha256(digest):
            raise ValueError(f"sha256: {SHA256_CHARS} hexadecimal digits in lower case")
        name = entry.name or (profile.name if profile is not None else None)
        approval = Approval(digest, by, self.clock.unix_ms(), entry.why, name, profile)
        return (await self.board.scripts.register(approval)).without_text()

    def _shown(self, item: Item) -> dict[str, object]:
        script = self.board.scripts.book.find(item.script_sha256)
        text, profile = (None, None) if script is None else (script.text, script.profile)
        return {**outline(item), "what": item.what, "script": text, "profile": profile}


def build_approval_routes(board: ApprovalBoard, profile: ScriptProfiler, clock: Clock) -> list[web.RouteDef]:
    """`/approvals` and `/scripts` below the operators' prefix."""
    desk = ApprovalDesk(board, profile, clock)

    async def list_approvals(request: web.Request) -> web.Response:
        found = board.book.listed(_state(request), _limit(request))
        return _json({"approvals": [outline(item) for item in found]})

    async def show(request: web.Request) -> web.Response:
        return _json(desk.show(request.match_info["id"]))

    async def decide(request: web.Request) -> web.Response:
        word = msgspec.json.decode(await _read_body(request), type=Word)
        return _json(await desk.decide(request.match_info["id"], word, _user(request)))

    async def list_scripts(_request: web.Request) -> web.Response:
        return _json({"scripts": board.scripts.book.listed()})

    async def show_script(request: web.Request) -> web.Response:
        script = board.scripts.book.find(request.match_info["sha256"])
        if script is None:
            raise ScriptUnknown("no script with this hash was asked for or approved")
        return _json(script)

    async def register(request: web.Request) -> web.Response:
        entry = msgspec.json.decode(await _read_body(request), type=Entry)
        return _json(await desk.register(entry, _user(request)))

    async def revoke(request: web.Request) -> web.Response:
        body = await _read_body(request)
        why = msgspec.json.decode(body, type=Revocation).why if body else ""
        script = await board.scripts.revoke(request.match_info["sha256"], by=_user(request), why=why)
        return _json(script.without_text())

    return [
        web.get(f"{ADMIN_PREFIX}/approvals", _answering(list_approvals)),
        web.get(f"{ADMIN_PREFIX}/approvals/{{id}}", _answering(show)),
        web.post(f"{ADMIN_PREFIX}/approvals/{{id}}", _answering(decide)),
        web.get(f"{ADMIN_PREFIX}/scripts", _answering(list_scripts)),
        web.get(f"{ADMIN_PREFIX}/scripts/{{sha256}}", _answering(show_script)),
        web.post(f"{ADMIN_PREFIX}/scripts", _answering(register)),
        web.delete(f"{ADMIN_PREFIX}/scripts/{{sha256}}", _answering(revoke)),
        web.post(f"{ADMIN_PREFIX}/scripts/{{sha256}}/revoke", _answering(revoke)),
    ]


def _answering(handler: Handler) -> Handler:
    """Turn what the board raises into the reasons that have an answer. 403 is kept for who is no operator."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (ApprovalUnknown, ScriptUnknown) as error:
            raise GatewayError(Reason.NOT_FOUND, str(error)) from None
        except NotAllowed as error:
            raise GatewayError(Reason.POLICY_DENIED, str(error)) from None
        except (AlreadyDecided, RegistryFull, msgspec.MsgspecError, ValueError) as error:
            raise GatewayError(Reason.BODY_MALFORMED, str(error)) from None

    return answer


async def _read_body(request: web.Request) -> bytes:
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise GatewayError(Reason.BODY_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return body


def _user(request: web.Request) -> str:
    """Who decides. That an operator asks is checked again: only they may."""
    principal = request[CONTEXT].principal
    if principal is None or not principal.operator:
        raise GatewayError(Reason.FORBIDDEN, "only an operator decides approvals")
    return principal.user


def _state(request: web.Request) -> State | None:
    asked = request.query.get("state")
    for state in get_args(State):
        if state == asked:
            return state
    if asked is not None:
        raise ValueError(f"state: one of {', '.join(get_args(State))}")
    return None


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(SHOWN))
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ValueError(f"limit: a whole number, not '{text[:32]}'")
    return min(int(text), SHOWN_MAX)


def _json(value: object) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", headers=headers)
