"""One attempt of a call from its task to how it ended: type, model, folder and tools first, everything closed at last.

Implements `ports.Agents`. The turns between are `conversation.py`. What fails before the first request costs nothing.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.contract import DENIED_TOOL
from runtime.agents.allowance import Allowance
from runtime.agents.asking import Asker, Dispatch, Efforts
from runtime.agents.client import GatewayClient, idempotency_key
from runtime.agents.conversation import Conversation
from runtime.agents.endings import AttemptOver, CallThrew
from runtime.agents.judging import SchemaJudge
from runtime.agents.kinds import AgentKind, KindUnusable, find_kind
from runtime.agents.prompts import OUTPUT_TOOL, OUTPUT_TOOL_DESCRIPTION, place, system_prompt
from runtime.agents.structured import OutputDialogue
from runtime.agents.toolcalls import ToolCaller
from runtime.agents.transcript import Transcript, encode
from runtime.core.model import INHERIT, CallOptions, Finished, NullReason, RunSpec, Thrown, Worktree
from runtime.ports import AgentTask, Clock, Prices, Toolboxes, Tools, Watch, WorkspaceRefused, Workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every attempt works with."""

    client: GatewayClient
    judge: SchemaJudge
    toolboxes: Toolboxes
    workspaces: Workspaces
    prices: Prices
    clock: Clock
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


def dispatch_of(means: Means) -> Dispatch:
    """How requests go out that are made by these means."""
    efforts: Efforts = {}
    return Dispatch(
        client=means.client,
        prices=means.prices,
        clock=means.clock,
        wait=means.wait,
        jitter=means.jitter,
        efforts=efforts,
    )


class LocalAgents:
    """Runs attempts in this process."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._dispatch = dispatch_of(means)

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        """Never raises for what an agent or an upstream did: that is in `Finished`."""
        clock = self._means.clock
        allowance = Allowance(task.options, task.run.limits, clock, clock.monotonic())
        return await _Attempt(
            self._means, task, watch, allowance, Asker(self._dispatch, task, watch, allowance)
        ).finish()


@dataclass(slots=True)
class _Attempt:
    """What is known of an attempt while it goes on, and however it ends."""

    means: Means
    task: AgentTask
    watch: Watch
    allowance: Allowance
    asker: Asker
    conversation: Conversation | None = None
    worktree: Worktree | None = None
    notes: list[str] = field(default_factory=list[str])

    async def finish(self) -> Finished:
        try:
            value = await self._converse()
        except AttemptOver as over:
            return self._over(over)
        except CallThrew as threw:
            return self._finished(thrown=threw.thrown)
        except WorkspaceRefused as refused:
            return self._finished(thrown=Thrown(code="workspace", message=str(refused)))
        return self._finished(value=msgspec.Raw(value))

    async def _converse(self) -> bytes:
        kind = await self._kind()
        model = resolve_model(self.task.run, self.task.options, kind)
        if model is None:
            raise AttemptOver("api_error", "no model is named by the call, its agent type or the run: name one")
        async with self._folder() as folder, self._tools(kind, folder) as tools:
            self.conversation = self._begin(kind, model, tools=tools, folder=folder)
            return await self.conversation.run()

    async def _kind(self) -> AgentKind:
        name = self.task.options.agent_type
        if name is None:
            return AgentKind(name="")
        try:
            return await asyncio.to_thread(find_kind, self.task.run.workspace, name)
        except KindUnusable as fault:
            raise AttemptOver("agent_type", str(fault)) from None

    @asynccontextmanager
    async def _folder(self) -> AsyncGenerator[str | None]:
        """Where the agent works: the workspace, or a worktree that is put away whatever happens (W59)."""
        workspace = self.task.run.workspace
        if self.task.options.isolation is None:
            yield workspace
            return
        if workspace is None:
            raise WorkspaceRefused("isolation 'worktree' needs a run with a workspace, and this run has none")
        name = f"{self.task.run.id}-{self.task.index}-{self.task.attempt}"
        checkout = await self.means.workspaces.branch_off(workspace, name)
        try:
            yield checkout.folder
        finally:
            try:
                self.worktree = await checkout.finish()
            except WorkspaceRefused as refused:
                self.notes.append(f"its worktree could not be put away: {refused}")

    @asynccontextmanager
    async def _tools(self, kind: AgentKind, folder: str | None) -> AsyncGenerator[Tools]:
        tools = await self.means.toolboxes.open(folder, allowed_tools(kind, self.task.options))
        self._tell_missing(tools, folder)
        try:
            yield tools
        finally:
            await tools.close()

    def _tell_missing(self, tools: Tools, folder: str | None) -> None:
        """Names that are none, or not to be had here: an agent without them would be another one silently."""
        had = [each["name"] for each in tools.definitions]
        missing = sorted(set(self.task.options.tools or ()) - {*had, OUTPUT_TOOL})
        if missing:
            there = ", ".join(had) or "none" if folder is not None else "none in a run without a workspace"
            text = f'agent(): option "tools" names what cannot be given: {", ".join(missing)}; given: {there}'
            self.watch.warn("missing_tools", text)

    def _begin(self, kind: AgentKind, model: str, *, tools: Tools, folder: str | None) -> Conversation:
        task, options = self.task, self.task.options
        offered = offered_tools(tools, kind, options)
        caller = ToolCaller(tools, frozenset(each["name"] for each in offered), idempotency_key(task), self.watch)
        transcript = Transcript(
            system=system_prompt(kind.prompt, schema=options.schema is not None),
            place=place(folder) if folder is not None and offered else None,
            tools=[*offered, output_tool(options.schema)] if options.schema is not None else offered,
            model=model,
            effort=options.effort or task.run.effort,
        )
        transcript.add_text(task.prompt)
        limits = task.run.limits
        return Conversation(
            asker=self.asker,
            transcript=transcript,
            allowance=self.allowance,
            caller=caller,
            judge=self.means.judge,
            watch=self.watch,
            schema=options.schema,
            dialogue=OutputDialogue(tries_max=limits.schema_tries, nudges_max=limits.nudges),
        )

    def _over(self, over: AttemptOver) -> Finished:
        """`onLimit` says what a limit gives. An unchecked text is no part of what a call with a schema promises."""
        options, detail = self.task.options, over.detail
        if over.null != "limit":
            return self._finished(null=over.null, detail=detail, transient=over.transient)
        if options.schema is not None:
            detail = f"{detail}, before it had handed over its output"
        if options.on_limit == "throw":
            return self._finished(thrown=Thrown(code="limit", message=detail))
        text = self.conversation.last_text if self.conversation is not None else ""
        if options.on_limit == "partial" and options.schema is None and text.strip():
            return self._finished(value=msgspec.Raw(encode(text)), detail=detail)
        return self._finished(null="limit", detail=detail)

    def _finished(
        self,
        *,
        value: msgspec.Raw | None = None,
        null: NullReason | None = None,
        thrown: Thrown | None = None,
        detail: str = "",
        transient: bool = False,
    ) -> Finished:
        talk = self.conversation
        ran = talk.caller.ran if talk is not None else 0
        return Finished(
            value=value,
            null=null,
            thrown=thrown,
            detail="; ".join(filter(None, [detail, *self.notes])),
            usage=msgspec.structs.replace(self.allowance.usage, tool_calls=ran),
            model=self.asker.answered_by,
            schema_attempts=talk.dialogue.tries if talk is not None else 0,
            steered=self.asker.steered,
            worktree=self.worktree,
            transcript_sha256=talk.transcript.sha256() if talk is not None else None,
            transient=transient,
        )


def resolve_model(run: RunSpec, options: CallOptions, kind: AgentKind) -> str | None:
    """The model to ask for, by the order of W50; None: nobody names one."""
    return run.model_of(next((model for model in (options.model, kind.model) if model and model != INHERIT), None))


def allowed_tools(kind: AgentKind, options: CallOptions) -> list[str] | None:
    """At most what the type and the call both name (W52); None: neither names any."""
    named = [frozenset(names) for names in (kind.tools, options.tools) if names is not None]
    return sorted(named[0].intersection(*named[1:])) if named else None


def offered_tools(tools: Tools, kind: AgentKind, options: CallOptions) -> list[dict[str, Any]]:
    """Definitions of what may be called. What is taken away for some arguments (`Bash(rm *)`) is taken away, and so
    is what is spelt otherwise (`bash`).
    """
    allowed = allowed_tools(kind, options)
    names = (*options.disallowed_tools, OUTPUT_TOOL, DENIED_TOOL)
    refused = {name.partition("(")[0].strip().casefold() for name in names}
    return [
        each
        for each in tools.definitions
        if each["name"].casefold() not in refused and (allowed is None or each["name"] in allowed)
    ]


def output_tool(schema: dict[str, Any]) -> dict[str, Any]:
    """The definition of the tool that takes a call's output (W62)."""
    return {"name": OUTPUT_TOOL, "description": OUTPUT_TOOL_DESCRIPTION, "input_schema": schema}
