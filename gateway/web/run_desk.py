"""What the paths of runs need of whoever keeps the runs: one Protocol, the bodies it is given, the one error it raises.

Values are plain: JSON-able mappings, text, bytes. Nothing is implemented here, and no HTTP is spoken.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec

from gateway.contract import HEADER_VALUE_CHARS_MAX
from gateway.core.decisions.decision import Principal

WHY_CHARS_MAX = 500
MESSAGE_CHARS_MAX = 4_000
TASK_CHARS_MAX = 32_000
TEXT_CHARS_MAX = 4_096
"""Longest path, name or title."""

RunState = Literal["pending_approval", "queued", "running", "paused", "completed", "failed", "stopped", "denied"]
Shown = Mapping[str, Any]
"""What becomes one JSON object; `msgspec.Raw` may stand anywhere in it."""

_Why = Annotated[str, msgspec.Meta(max_length=WHY_CHARS_MAX)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_CHARS_MAX)]
_Id = Annotated[str, msgspec.Meta(max_length=HEADER_VALUE_CHARS_MAX, pattern=r"^[!-~]+\Z")]
"""What a header can carry: the run's model requests name their session in one."""
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Dollars = Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """JSON uses the names of the Workflow tool: `scriptPath`, `resumeFromRunId`."""


class StartRun(_Body, frozen=True, kw_only=True):
    """Body of a start, a dry run and a resume plan (W01)."""

    script: str | None = None
    script_path: _Text | None = None
    name: _Text | None = None
    args: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """JSON as it came; unset: the script sees `undefined`."""
    resume_from_run_id: _Text | None = None
    resume_mode: Literal["lineage", "prefix", "none"] = "lineage"
    title: str | None = None
    """Accepted and ignored, as is `description` (W02)."""
    description: str | None = None
    session: _Id | None = None
    """Which session the run belongs to; None: one of its own."""
    workspace: _Text | None = None
    model: _Text | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    max_agents: _Count | None = None
    max_cost_usd: _Dollars | None = None
    budget_tokens: _Count | None = None
    """`budget.total` (W112, W115)."""
    consent: Literal["once", "always"] | None = None
    """What the person who starts it said when the card was shown; None: nobody was asked (W140)."""
    script_sha256: _Sha256 | None = None
    """The script that was shown: another one is refused (W142)."""


class PauseRun(_Body, frozen=True, kw_only=True):
    """No new call starts; `freeze`: running agents also stop after the request in flight (W129)."""

    mode: Literal["drain", "freeze"] = "drain"
    why: _Why = ""


class ResumeRun(_Body, frozen=True, kw_only=True):
    """Goes on in place (W130)."""

    max_cost_usd: _Dollars | None = None
    """A new cap for the run (W118)."""
    why: _Why = ""


class StopRun(_Body, frozen=True, kw_only=True):
    """Ends it for good (W131)."""

    why: _Why = ""


class ApproveRun(_Body, frozen=True, kw_only=True):
    """A person's yes (W140). `always`: for this project, name and script (W142)."""

    scope: Literal["once", "always"] = "once"
    script_sha256: _Sha256 | None = None
    """The script that was shown: another one is refused."""
    why: _Why = ""


class DenyRun(_Body, frozen=True, kw_only=True):
    """A person's no."""

    why: _Why = ""


class SaveRun(_Body, frozen=True, kw_only=True):
    """Put its script into the caller's library (W135)."""

    name: _Text | None = None
    """None: the one in its `meta`."""
    replace: bool = False


class StopAgent(_Body, frozen=True, kw_only=True):
    """Its call gives null (W132)."""


class SkipAgent(_Body, frozen=True, kw_only=True):
    """The same, with the reason `skipped` (W133)."""


class RestartAgent(_Body, frozen=True, kw_only=True):
    """A new attempt of the same call (W134)."""


class MessageAgent(_Body, frozen=True, kw_only=True):
    """Delivered at its next step (W136)."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MESSAGE_CHARS_MAX)]


class DraftWorkflow(_Body, frozen=True, kw_only=True):
    """Body of a draft: a task for the model that writes the script."""

    task: Annotated[str, msgspec.Meta(min_length=1, max_length=TASK_CHARS_MAX)]
    workspace: _Text | None = None
    model: _Text | None = None


RunOrder = PauseRun | ResumeRun | StopRun | ApproveRun | DenyRun | SaveRun
AgentOrder = StopAgent | SkipAgent | RestartAgent | MessageAgent


class RunRefused(Exception):
    """A request about runs cannot be done: `detail` stands beside type and message in the envelope's `error`.

    Statuses in use: 400 `invalid_request_error`, `invalid_script` (with `code`, `line`, `column`), `nothing_to_resume`;
    404 `not_found_error`; 409 `conflict_error` (W121); 413; 422 `draft_failed` (with `script`, `problems`, `tries`);
    429 `max_workflow_runs_error` (W11), `billing_error`, `rate_limit_error`;
    451 `permission_error`; 503 `workflows_disabled` (W09) or the store is away.
    """

    def __init__(self, status: int, error_type: str, message: str, detail: Shown | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.detail: Shown = detail or {}


def unknown_run(id: str) -> RunRefused:
    """The one answer for a run that is not there and for one that is somebody else's (W137)."""
    message = f"there is no run {id[:64]} that you may see; `ringfence runs list` names yours"
    return RunRefused(404, "not_found_error", message)


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event. `text` is one JSON object with its `type`, and, when numbered, its `seq` and `epoch`."""

    type: str
    text: bytes
    seq: int | None = None
    """None: a `progress` snapshot, which is not kept and of which the newest replaces the older."""


class RunDesk(Protocol):
    """Runs, as one principal may see and change them: a user their own, an operator all. All raise `RunRefused`.

    A start or an order with an idempotency key that its caller has used before is answered as the first one was, and
    does nothing (W138).
    """

    async def start(self, principal: Principal, request: StartRun, *, idempotency: str | None) -> Shown:
        """W03: `status`, `runId`, `workflowName`, `summary`, `scriptPath`, `state`, `warning`, ..."""
        ...

    async def check(self, principal: Principal, request: StartRun) -> Shown:
        """The approval card with a dry run in it; starts nothing (W140, W143, W144).

        Beside the card stands `approval`: `needed` (would a start without consent wait for a person?) and `reason`.
        """
        ...

    async def card_of(self, principal: Principal, run: str) -> Shown:
        """The same of a run that is there, for whoever is to approve it; `approval` says whether it waits for that."""
        ...

    async def draft(self, principal: Principal, request: DraftWorkflow) -> Shown:
        """`script`, `card`, `tries`: a script that a model wrote, checked and rehearsed. Starts nothing.

        Beside them the `model` that wrote and the `usage` of the writing; of a refusal they stand in its detail.
        """
        ...

    async def plan_resume(self, principal: Principal, run: str, request: StartRun) -> Shown:
        """What a resume of this run would replay, what it would pay again, and why (W162). Starts nothing."""
        ...

    async def rows(
        self,
        principal: Principal,
        *,
        session: str | None,
        states: Sequence[RunState],
        before: str | None,
        most: int,
    ) -> Sequence[Shown]:
        """Records, newest first, from the one that comes after run `before`."""
        ...

    async def record(self, principal: Principal, run: str) -> Shown:
        """The run without its result (W176)."""
        ...

    async def agents(self, principal: Principal, run: str, *, after: int | None, most: int) -> Sequence[Shown]:
        """Rows by index (W91), from the one that comes after `after`; without prompts and values."""
        ...

    async def agent(self, principal: Principal, run: str, index: int) -> Shown:
        """One agent with its prompt and value."""
        ...

    async def result(self, principal: Principal, run: str) -> Shown:
        """`state`, and `value` (W170, W172) or `failure`. 409 while the run is open.

        Of a large one `artefact` in place of `value`: its `sha256`, `bytes` and the `path` where it is had.
        """
        ...

    async def artefact(self, principal: Principal, run: str) -> bytes:
        """JSON of what it returned, however large (W172). 409 when there is none."""
        ...

    async def notification(self, principal: Principal, run: str) -> Shown:
        """What the conversation that started it is told at its end (W173). 409 while the run is open."""
        ...

    async def values(self, principal: Principal, run: str, *, after: int, offset: int, label: str | None) -> Shown:
        """`values` behind call `after`, with where to go on: what the calls of an ended run gave (W176)."""
        ...

    async def events(
        self, principal: Principal, run: str, *, after: int, types: Sequence[str], most: int
    ) -> Sequence[RunEvent]:
        """The numbered ones that come after `after`, of these types; no types: all."""
        ...

    async def follow(self, principal: Principal, run: str, *, after: int) -> AsyncGenerator[RunEvent]:
        """The numbered events after `after`, then those that happen, with `progress` at most 4 times per second.

        It ends after the run's last event. What a slow reader missed is left out, never waited for.
        """
        ...

    async def follow_task(self, principal: Principal, run: str) -> AsyncGenerator[RunEvent]:
        """The same in the shapes of Claude Code's stream (W181): unnumbered snapshots, until its notification."""
        ...

    async def journal(self, principal: Principal, run: str, *, after: int, most: int) -> Sequence[bytes]:
        """Lines as they are kept, from number `after` + 1."""
        ...

    async def control(self, principal: Principal, run: str, order: RunOrder, *, idempotency: str | None) -> Shown:
        """The record as it then is; of a save `name` and `sha256` of what is in the library now.

        409: the run's state does not allow it, and nothing changed (W121).
        """
        ...

    async def control_agent(
        self, principal: Principal, run: str, index: int, order: AgentOrder, *, idempotency: str | None
    ) -> Shown:
        """The agent's row as it then is. 409: its state does not allow it (W134)."""
        ...
