"""What it takes to start a run: a checked script, `args` as they are read, limits laid together. Starts nothing."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from runtime.check import Prepared
from runtime.core.display import visible
from runtime.core.limits import ARGS_BYTES_MAX, DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, Limits
from runtime.core.model import Effort, Owner, ResumeMode, RunId, RunSpec, json_of
from runtime.core.sizes import Guideline

Kind = Literal[
    "invalid_request",
    "invalid_script",
    "args_too_large",
    "not_found",
    "nothing_to_resume",
    "max_workflow_runs",
    "disabled",
    "denied",
    "conflict",
    "unavailable",
    "over_budget",
    "limited",
    "draft_failed",
]
JSON_STRING = "args_was_json_string"


class RunError(Exception):
    """A request about runs cannot be met. `detail` holds what a program may want to know of it."""

    def __init__(self, kind: Kind, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator has set for all runs."""

    enabled: bool = True
    limits: Limits = Limits()
    model: str | None = None
    forced_model: str | None = None
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """What short names stand for."""
    open_per_session: int = 10
    max_cost_nanousd: int | None = None
    confirm_agents: int | None = None
    confirm_tokens: int | None = None
    asks: bool = False
    """A person approves every run that is not remembered (W141)."""
    auto_resume: bool = False
    strict_options: bool = True
    pipeline_null: Literal["stop", "pass"] = "stop"
    keep_days: int = 30
    guideline: Guideline | None = None
    """How large workflows are meant to be, as authors are told (W191)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was asked for (W01)."""

    owner: Owner
    script: str | None = None
    script_path: str | None = None
    name: str | None = None
    args: msgspec.Raw | None = None
    has_args: bool = False
    resume_from: RunId | None = None
    resume_mode: ResumeMode = "lineage"
    resume_plan: dict[str, Any] | None = None
    """What it is said to take over."""
    title: str | None = None
    session: str | None = None
    workspace: str | None = None
    model: str | None = None
    effort: Effort | None = None
    max_agents: int | None = None
    max_cost_nanousd: int | None = None
    budget_tokens: int | None = None
    consent: Literal["once", "always"] | None = None
    script_sha256: str | None = None
    source: Literal["api", "tool", "cli"] = "api"


def read_args(args: msgspec.Raw | None) -> tuple[msgspec.Raw | None, str | None]:
    """`args` as the script gets them, and a warning (W33 to W35). A text that holds JSON is that JSON (W34).

    Raises `RunError`.
    """
    if args is None:
        return None, None
    if len(bytes(args)) > ARGS_BYTES_MAX:
        raise RunError("args_too_large", f"args have {len(bytes(args))} bytes; at most {ARGS_BYTES_MAX} are taken")
    try:
        value = msgspec.json.decode(args)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RunError("invalid_request", f"args are not JSON: {error}") from None
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return args, None
    try:
        msgspec.json.decode(value.strip())
    except (msgspec.MsgspecError, RecursionError):
        return args, None
    return msgspec.Raw(value.strip().encode()), f"{JSON_STRING}: args came as a text that holds JSON, and were read"


def build_spec(
    launch: Launch, prepared: Prepared, settings: Settings, *, now_ms: int, script_path: str | None
) -> RunSpec:
    """Everything that is decided at launch. Raises `RunError`."""
    if prepared.error is not None:
        raise invalid_script(prepared)
    args, warning = read_args(launch.args)
    id = RunId(f"wf_{secrets.token_hex(8)}")
    meta = prepared.meta
    ceiling = settings.limits.agents
    agents = min(ceiling, launch.max_agents or ceiling)
    caps = [cap for cap in (settings.max_cost_nanousd, launch.max_cost_nanousd) if cap is not None]
    return RunSpec(
        id=id,
        owner=launch.owner,
        session=launch.session or f"run-{id}",
        name=visible(str(meta["name"]))[:NAME_CHARS_MAX],
        description=str(meta["description"])[:DESCRIPTION_CHARS_MAX],
        script=prepared.source,
        body=prepared.body,
        meta=msgspec.Raw(msgspec.json.encode(meta)),
        script_sha256=prepared.sha256,
        created_ms=now_ms,
        args=json_of(args),
        phases=tuple(phase.title for phase in prepared.profile.planned),
        limits=msgspec.structs.replace(settings.limits, agents=agents),
        model=launch.model or settings.model,
        forced_model=settings.forced_model,
        models=dict(settings.models),
        effort=launch.effort,
        budget_tokens=launch.budget_tokens,
        max_cost_nanousd=min(caps, default=None),
        workspace=launch.workspace,
        script_path=script_path,
        source=launch.source,
        resumed_from=launch.resume_from,
        resume_mode=launch.resume_mode,
        resume_plan=launch.resume_plan or {},
        pipeline_null=settings.pipeline_null,
        strict_options=settings.strict_options,
        confirm_agents=settings.confirm_agents,
        confirm_tokens=settings.confirm_tokens,
        title=launch.title,
        warnings=(*map(str, prepared.warnings), *(() if warning is None else (warning,))),
    )


def invalid_script(prepared: Prepared) -> RunError:
    """W04: over HTTP a 400 with the message of the check."""
    error = prepared.error
    assert error is not None
    return RunError("invalid_script", str(error), code=error.code, line=error.line, column=error.column)
