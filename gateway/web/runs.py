"""`/ringfence/v1/runs` and `/ringfence/v1/workflows/draft`: reads, and answers what the desk says. Decides nothing.

Any credential but a run's own may ask (W08); whose runs it meets is the desk's business. Live events are in
`run_stream.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, get_args

import msgspec
from aiohttp import web

from gateway.contract import DRAFT_PATH, HEADER_VALUE_CHARS_MAX, IDEMPOTENCY_HEADER, RUN_ID, RUNS_PATH
from gateway.core.decisions.decision import Principal
from gateway.web.middlewares import CONTEXT
from gateway.web.run_answers import answering
from gateway.web.run_desk import (
    AgentOrder,
    ApproveRun,
    DenyRun,
    DraftWorkflow,
    MessageAgent,
    PauseRun,
    RestartAgent,
    ResumeRun,
    RunDesk,
    RunOrder,
    RunRefused,
    RunState,
    SaveRun,
    Shown,
    SkipAgent,
    StartRun,
    StopAgent,
    StopRun,
    unknown_run,
)
from gateway.web.run_stream import RunStreams

SCRIPT_BYTES_MAX = 512 * 1024
ARGS_BYTES_MAX = 1024 * 1024
BODY_BYTES_MAX = 6 * SCRIPT_BYTES_MAX + ARGS_BYTES_MAX + 64 * 1024
"""A script of the largest size, however it is escaped, with the largest args."""
SHOWN = 50
SHOWN_MAX = 1_000
JOURNAL_LINES_READ = 64
"""Lines of a journal that are in memory at once."""

RUN_ORDERS: dict[str, type[RunOrder]] = {
    "pause": PauseRun,
    "resume": ResumeRun,
    "stop": StopRun,
    "approve": ApproveRun,
    "deny": DenyRun,
    "save": SaveRun,
}
AGENT_ORDERS: dict[str, type[AgentOrder]] = {
    "stop": StopAgent,
    "skip": SkipAgent,
    "restart": RestartAgent,
    "message": MessageAgent,
}

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_run_routes(desk: RunDesk, streams: RunStreams) -> list[web.RouteDef]:
    """All paths."""
    routes = [*_starting(desk), *_reading(desk), *_listening(desk, streams), *_changing(desk)]
    return [web.route(each.method, each.path, answering(each.handler)) for each in routes]


def _starting(desk: RunDesk) -> list[web.RouteDef]:
    async def start(request: web.Request) -> web.Response:
        asked = await _asked_to_start(request)
        return _json(await desk.start(_principal(request), asked, idempotency=_idempotency(request)))

    async def check(request: web.Request) -> web.Response:
        return _json(await desk.check(_principal(request), await _asked_to_start(request)))

    async def draft(request: web.Request) -> web.Response:
        return _json(await desk.draft(_principal(request), await _body(request, DraftWorkflow)))

    async def plan_resume(request: web.Request) -> web.Response:
        if request.method == "GET":
            mode = {"resumeMode": request.query["mode"]} if "mode" in request.query else {}
            asked = _read(lambda: msgspec.convert(mode, StartRun))
        else:
            asked = await _body(request, StartRun)
        return _json(await desk.plan_resume(_principal(request), _id(request), asked))

    return [
        web.post(RUNS_PATH, start),
        web.post(f"{RUNS_PATH}/dry-run", check),
        web.post(DRAFT_PATH, draft),
        web.get(f"{RUNS_PATH}/{{id}}/resume-plan", plan_resume),
        web.post(f"{RUNS_PATH}/{{id}}/resume-plan", plan_resume),
    ]


def _reading(desk: RunDesk) -> list[web.RouteDef]:
    async def list_runs(request: web.Request) -> web.Response:
        most = _limit(request)
        rows = await desk.rows(
            _principal(request),
            session=_session(request),
            states=_states(request),
            before=_before(request),
            most=most + 1,
        )
        return _page("runs", rows[:most], rows[most - 1]["id"] if len(rows) > most else None)

    async def show(request: web.Request) -> web.Response:
        return _json(await desk.record(_principal(request), _id(request)))

    async def card(request: web.Request) -> web.Response:
        return _json(await desk.card_of(_principal(request), _id(request)))

    async def list_agents(request: web.Request) -> web.Response:
        most, after = _limit(request), _number(request, "after", -1)
        rows = await desk.agents(_principal(request), _id(request), after=after if after >= 0 else None, most=most + 1)
        return _page("agents", rows[:most], rows[most - 1]["index"] if len(rows) > most else None)

    async def show_agent(request: web.Request) -> web.Response:
        return _json(await desk.agent(_principal(request), _id(request), _index(request)))

    async def result(request: web.Request) -> web.Response:
        return _json(await desk.result(_principal(request), _id(request)))

    async def artefact(request: web.Request) -> web.Response:
        return _json(msgspec.Raw(await desk.artefact(_principal(request), _id(request))))

    async def notification(request: web.Request) -> web.Response:
        return _json(await desk.notification(_principal(request), _id(request)))

    async def values(request: web.Request) -> web.Response:
        after, offset = _number(request, "after", -1), _number(request, "offset", 0)
        label = request.query.get("label")
        return _json(await desk.values(_principal(request), _id(request), after=after, offset=offset, label=label))

    return [
        web.get(RUNS_PATH, list_runs),
        web.get(f"{RUNS_PATH}/{{id}}", show),
        web.get(f"{RUNS_PATH}/{{id}}/card", card),
        web.get(f"{RUNS_PATH}/{{id}}/agents", list_agents),
        web.get(f"{RUNS_PATH}/{{id}}/agents/{{index}}", show_agent),
        web.get(f"{RUNS_PATH}/{{id}}/result", result),
        web.get(f"{RUNS_PATH}/{{id}}/result/artefact", artefact),
        web.get(f"{RUNS_PATH}/{{id}}/notification", notification),
        web.get(f"{RUNS_PATH}/{{id}}/values", values),
    ]


def _listening(desk: RunDesk, streams: RunStreams) -> list[web.RouteDef]:
    async def events(request: web.Request) -> web.StreamResponse:
        principal, run = _principal(request), _id(request)
        streamed = "text/event-stream" in request.headers.get("accept", "")
        if request.query.get("format", "run") != "run":
            _require_task_stream(request, streamed=streamed)
            return await streams.send(request, await desk.follow_task(principal, run), 0)
        if streamed:
            after = _number(request, "after", 0, header="last-event-id")
            return await streams.send(request, await desk.follow(principal, run, after=after), after)
        most, after = _limit(request), _number(request, "after", 0)
        found = await desk.events(principal, run, after=after, types=_types(request), most=most + 1)
        page = found[:most]
        return _page("events", [msgspec.Raw(each.text) for each in page], page[-1].seq if len(found) > most else None)

    async def journal(request: web.Request) -> web.StreamResponse:
        principal, run, after = _principal(request), _id(request), _number(request, "after", 0)
        lines = await desk.journal(principal, run, after=after, most=JOURNAL_LINES_READ)
        response = await streams.open(request, "application/x-ndjson")
        while lines:
            await streams.write(response, b"".join(line + b"\n" for line in lines))
            after += len(lines)
            lines = await desk.journal(principal, run, after=after, most=JOURNAL_LINES_READ)
        await response.write_eof()
        return response

    return [
        web.get(f"{RUNS_PATH}/{{id}}/events", events),
        web.get(f"{RUNS_PATH}/{{id}}/journal", journal),
    ]


def _changing(desk: RunDesk) -> list[web.RouteDef]:
    def control(kind: type[RunOrder]) -> Handler:
        async def change(request: web.Request) -> web.Response:
            order = await _body(request, kind)
            key = _idempotency(request)
            return _json(await desk.control(_principal(request), _id(request), order, idempotency=key))

        return change

    def control_agent(kind: type[AgentOrder]) -> Handler:
        async def change(request: web.Request) -> web.Response:
            order = await _body(request, kind)
            key, index = _idempotency(request), _index(request)
            answer = await desk.control_agent(_principal(request), _id(request), index, order, idempotency=key)
            return _json(answer)

        return change

    return [
        *(web.post(f"{RUNS_PATH}/{{id}}/{verb}", control(kind)) for verb, kind in RUN_ORDERS.items()),
        *(
            web.post(f"{RUNS_PATH}/{{id}}/agents/{{index}}/{verb}", control_agent(kind))
            for verb, kind in AGENT_ORDERS.items()
        ),
    ]


def _principal(request: web.Request) -> Principal:
    principal = request[CONTEXT].principal
    assert principal is not None
    return principal


async def _asked_to_start(request: web.Request) -> StartRun:
    """One of scriptPath, script and name, in this order (W02), or an earlier run whose script is then used (W01)."""
    asked = await _body(request, StartRun)
    if not (asked.script or asked.script_path or asked.name or asked.resume_from_run_id):
        raise _malformed("give one of script, scriptPath and name, or resumeFromRunId of an earlier run")
    if isinstance(asked.args, msgspec.Raw) and len(bytes(asked.args)) > ARGS_BYTES_MAX:
        raise _malformed(f"args are larger than {ARGS_BYTES_MAX} bytes; hand large input over as files")
    if asked.script_path is not None:
        return msgspec.structs.replace(asked, script=None, name=None)
    return asked if asked.script is None else msgspec.structs.replace(asked, name=None)


async def _body(request: web.Request, kind: type[T]) -> T:
    """No body is an empty object."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return _read(lambda: msgspec.json.decode(body or b"{}", type=kind))


def _read(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"the body is not what is taken here: {error}") from None


def _malformed(message: str) -> RunRefused:
    return RunRefused(400, "invalid_request_error", message)


def _too_large() -> RunRefused:
    return RunRefused(413, "request_too_large", f"the body is larger than {BODY_BYTES_MAX} bytes")


def _id(request: web.Request) -> str:
    """What cannot be an id is as unknown as any other (W137)."""
    id = request.match_info["id"]
    if RUN_ID.fullmatch(id) is None:
        raise unknown_run(id)
    return id


def _index(request: web.Request) -> int:
    text = request.match_info["index"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise RunRefused(404, "not_found_error", "agents are named by their index: a whole number from 0")
    return int(text)


def _idempotency(request: web.Request) -> str | None:
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) <= HEADER_VALUE_CHARS_MAX):
        raise _malformed(f"{IDEMPOTENCY_HEADER}: 1 to {HEADER_VALUE_CHARS_MAX} printable characters")
    return key


def _number(request: web.Request, name: str, default: int, *, header: str | None = None) -> int:
    """Of the query, or, before it, of a header that a reconnecting client sends."""
    text = request.headers.get(header) if header is not None else None
    text = request.query.get(name) if text is None else text
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise _malformed(f"{name}: a whole number, not '{text[:32]}'")
    return int(text)


def _limit(request: web.Request) -> int:
    return max(1, min(_number(request, "limit", SHOWN), SHOWN_MAX))


def _require_task_stream(request: web.Request, *, streamed: bool) -> None:
    if request.query["format"] != "task":
        raise _malformed("format: run or task")
    if not streamed:
        raise _malformed("format=task is a stream: ask for it with Accept: text/event-stream")


def _before(request: web.Request) -> str | None:
    before = request.query.get("before")
    if before is not None and RUN_ID.fullmatch(before) is None:
        raise _malformed("before: the id of a run, as `next` of the page before gave it")
    return before


def _session(request: web.Request) -> str | None:
    session = request.query.get("session")
    if session is not None and not (session.isascii() and session.isprintable()):
        raise _malformed("session: the id of a session, as its runs show it")
    return session


def _types(request: web.Request) -> tuple[str, ...]:
    """`types=log,warning`; none: all."""
    text = request.query.get("types", "")
    if not (text.isascii() and text.isprintable()):
        raise _malformed("types: names of events, as they stand in `type`")
    return tuple(filter(None, text.split(",")))


def _states(request: web.Request) -> tuple[RunState, ...]:
    """`state=running,paused`; none: any."""
    asked = set(filter(None, request.query.get("state", "").split(",")))
    known: tuple[RunState, ...] = get_args(RunState)
    if asked - set(known):
        raise _malformed(f"state: some of {', '.join(known)}")
    return tuple(state for state in known if state in asked)


def _page(name: str, rows: Sequence[Shown | msgspec.Raw], following: object) -> web.Response:
    """`next` is what to ask with (`before`, for runs; else `after`) for the rest; null: this was all."""
    return _json({name: list(rows), "next": following})


def _json(value: object) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", headers=headers)
