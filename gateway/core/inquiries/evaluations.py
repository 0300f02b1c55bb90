"""Questions of a harness that is not behind the gateway, in the shapes of the AuthZEN Authorization API 1.0.

    action.name   resource            its properties
    infer         type model, id      stream max_tokens effort speed tools server_tools mcp_servers betas body_bytes
    spawn         type agent, id      via model prompt label phase isolation background workflow
    tool_call     type tool, id       input tool_use_id
    run           type script, id     script args resume_of

Members that are not known are left alone, as the API says; those that are must have their types. Facts that the gateway
finds out itself (classes, paths, hosts, profiles, hashes) are never taken from the question.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from gateway.contract import HEADER_VALUE_CHARS_MAX
from gateway.core.agents.questions import text_sha256
from gateway.core.decisions.decision import OBLIGATIONS, Infer, Principal, Spawn
from gateway.core.wire.spans import Malformed
from gateway.core.wire.strict import Unreadable, decode_strictly, parse_input

LIMITS = "limits"
"""Named among what a harness carries out, when it holds to the limits of a decision."""
CAN = OBLIGATIONS | {LIMITS}
RESOURCES = {"infer": "model", "spawn": "agent", "tool_call": "tool", "run": "script"}
SUBJECTS = ("user", "credential")
ID_CHARS_MAX = 2_048
"""Longest id of a resource: a model may be an ARN."""

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=HEADER_VALUE_CHARS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class SubjectProperties(msgspec.Struct, frozen=True):
    """What an operator's harness may add of somebody."""

    team: Name | None = None
    credential: Name | None = None


class Subject(msgspec.Struct, frozen=True):
    """For whom is asked."""

    type: Name
    id: Name
    properties: SubjectProperties = SubjectProperties()


class Act(msgspec.Struct, frozen=True):
    """What is to be done."""

    name: Name


class Resource(msgspec.Struct, frozen=True):
    """What it is to be done with."""

    type: Name
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]
    properties: dict[str, Any] = {}


class Circumstances(msgspec.Struct, frozen=True):
    """Who in which tree of agents asks, and which obligations the harness carries out."""

    session: str | None = None
    agent: str | None = None
    parent: str | None = None
    run: str | None = None
    agent_type: str | None = None
    depth: Count | None = None
    workspace: str | None = None
    can: tuple[str, ...] = ()


class Evaluation(msgspec.Struct, frozen=True):
    """One question."""

    subject: Subject
    action: Act
    resource: Resource
    context: Circumstances = Circumstances()


class _Infer(msgspec.Struct, frozen=True):
    stream: bool = True
    max_tokens: Count | None = None
    effort: str | None = None
    speed: str | None = None
    tools: tuple[str, ...] = ()
    server_tools: tuple[str, ...] = ()
    mcp_servers: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    body_bytes: Count = 0


class _Spawn(msgspec.Struct, frozen=True):
    via: Literal["tool_use", "runtime"] = "tool_use"
    model: str | None = None
    prompt: str | None = None
    label: str | None = None
    phase: str | None = None
    isolation: str | None = None
    background: bool | None = None
    workflow: bool = False


class _ToolCall(msgspec.Struct, frozen=True):
    input: dict[str, Any] = {}
    tool_use_id: str = ""


class ScriptProperties(msgspec.Struct, frozen=True):
    """A run's script, when the harness has it, and what it is given."""

    script: str | None = None
    args: Any = None
    resume_of: str | None = None


def read_evaluation(body: bytes) -> Evaluation:
    """Raises `Malformed` with the place."""
    try:
        found = decode_strictly(body.decode())
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeError:
        raise Malformed("", "the body holds what is no Unicode") from None
    except Unreadable as error:
        raise Malformed("", f"the body {error}") from None
    evaluation = _converted(found, Evaluation)
    _check_choice("action.name", evaluation.action.name, RESOURCES)
    _check_choice("resource.type", evaluation.resource.type, (RESOURCES[evaluation.action.name],))
    _check_choice("subject.type", evaluation.subject.type, SUBJECTS)
    for index, kind in enumerate(evaluation.context.can):
        _check_choice(f"context.can[{index}]", kind, sorted(CAN))
    if evaluation.context.session is None and evaluation.context.agent is not None:
        raise Malformed("context.session", "is required with context.agent")
    return evaluation


def asked_infer(resource: Resource, model: str) -> Infer:
    """Raises `Malformed`."""
    told = _converted(resource.properties, _Infer, "resource.properties")
    return Infer(model=model, **msgspec.structs.asdict(told))


def asked_spawn(resource: Resource, parent_type: str | None) -> Spawn:
    """The id is the agent's type. Raises `Malformed`."""
    told = _converted(resource.properties, _Spawn, "resource.properties")
    fields = msgspec.structs.asdict(told)
    prompt = fields.pop("prompt")
    return Spawn(
        agent_type=resource.id,
        prompt_bytes=None if prompt is None else len(prompt.encode()),
        prompt_sha256=None if prompt is None else text_sha256(prompt),
        parent_type=parent_type,
        **fields,
    )


def asked_call(resource: Resource) -> tuple[dict[str, Any], str]:
    """Input and id of a tool call. Raises `Malformed`."""
    told = _converted(resource.properties, _ToolCall, "resource.properties")
    _, problem = parse_input(json.dumps(told.input))
    if problem is not None:
        raise Malformed("resource.properties.input", problem.removeprefix("the input "))
    return told.input, told.tool_use_id


def asked_script(resource: Resource) -> ScriptProperties:
    """Raises `Malformed`."""
    return _converted(resource.properties, ScriptProperties, "resource.properties")


def is_own(subject: Subject, principal: Principal) -> bool:
    """Does the principal ask for itself?"""
    return subject.id == (principal.user if subject.type == "user" else principal.credential)


def _converted(found: object, kind: type[T], above: str = "") -> T:
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        within = ".".join(part for part in (above, place.rstrip("`").lstrip(".")) if part)
        raise Malformed(within, problem) from None


def _check_choice(place: str, value: str, choices: "Mapping[str, Any] | tuple[str, ...] | list[str]") -> None:
    if value not in choices:
        raise Malformed(place, f"must be {' or '.join(choices)}, not {value[:64]!r}")
