"""From a task in words to a script with its card: write, check, rehearse, send back what is wrong, a few times.

What is handed over has passed the check and come to its end in a rehearsal, with agents at work in it. What only looks
odd is sent back as well, and stands on the card when the author leaves it so. Nothing is started and nothing is kept.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from runtime.agents.answer import Answer
from runtime.agents.asking import Dispatch
from runtime.attempts import Places
from runtime.check import prepare
from runtime.core.calls import agent_id_of
from runtime.core.model import CallIndex, CallOptions, Owner, RunId, RunSpec
from runtime.core.plans.card import Card
from runtime.core.sizes import GUIDELINE_DEFAULT, advise
from runtime.draft.author import Author
from runtime.draft.guide import CUT_OFF, NO_AGENT, ended_badly, load_guide, opening, sent_back
from runtime.draft.reading import NoScript, find_script
from runtime.launch import Launch, RunError, Settings
from runtime.ports import Admission, AgentTask, Clock, WorkspaceRefused, Workspaces

REPAIRS_MAX = 3
"""How often a script goes back to its author."""
RETRY_SECONDS = 60.0
"""How long a model request is tried again: somebody waits."""
ODD = frozenset({"item_threw", "schema_invalid", "unhandled_rejection", "result_lossy", "unknown_option"})
"""Codes of a rehearsal's warnings that the author can do something about."""
NAME = "workflow-draft"
LABEL = "draft a workflow script"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftAsked:
    """What was asked for. `model` writes the script; which ones its agents get is the script's and the run's."""

    owner: Owner
    task: str
    workspace: str | None = None
    model: str | None = None


class Cards(Protocol):
    """Shows what a script would do."""

    async def card(self, launch: Launch) -> Card:
        """With a rehearsal in it. Raises `RunError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What drafts are made with."""

    cards: Cards
    admission: Admission
    workspaces: Workspaces
    places: Places
    dispatch: Dispatch
    settings: Settings

    @property
    def clock(self) -> Clock:
        """Of the requests."""
        return self.dispatch.clock


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one try. `faults` keep it from being handed over, `oddities` only while it can go back."""

    script: str | None
    card: Card | None = None
    faults: Sequence[str] = ()
    oddities: Sequence[str] = ()


class Drafter:
    """Writes scripts."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def draft(self, asked: DraftAsked) -> dict[str, Any]:
        """`script`, `card`, `tries`, and the `model` and `usage` of the writing. Raises `RunError`."""
        means, asked = self._means, self._settled(asked)
        task = self._task(asked)
        author: Author | None = None
        try:
            verdict = await means.admission.decide_spawn(task)
            if not verdict.allow:
                raise RunError("denied", verdict.message)
            author = Author(means.dispatch, means.places, task, guide=load_guide())
            return await self._write(author, asked)
        except RunError as error:
            error.detail |= {} if author is None else author.told()
            raise
        finally:
            if author is not None:
                author.close()
            means.admission.end_agent(task)
            means.admission.close_bearer(task.run.id)

    def _settled(self, asked: DraftAsked) -> DraftAsked:
        """What can be told before anything is spent. Raises `RunError`."""
        settings = self._means.settings
        if not settings.enabled:
            raise RunError("disabled", "workflow runs are switched off here (runs.enabled in the configuration)")
        model = asked.model or settings.model
        if not asked.task.strip():
            raise RunError("invalid_request", "the task is empty: say what the workflow shall do")
        if model is None:
            raise RunError("invalid_request", "no model is named: name one, or set runs.model in the configuration")
        workspace = asked.workspace
        if workspace is not None:
            try:
                workspace = self._means.workspaces.check(workspace)
            except WorkspaceRefused as error:
                raise RunError("invalid_request", str(error)) from None
        return DraftAsked(owner=asked.owner, task=asked.task, workspace=workspace, model=model)

    def _task(self, asked: DraftAsked) -> AgentTask:
        """The author as an agent of a run of its own, so that it is governed as any agent is."""
        spec = spec_of(asked, self._means.settings, self._means.clock.unix_ms())
        return AgentTask(
            run=spec,
            index=CallIndex(0),
            attempt=1,
            agent_id=agent_id_of(spec.id, CallIndex(0), 1),
            prompt=asked.task,
            options=CallOptions(label=LABEL),
            label=LABEL,
            phase=None,
            bearer=self._means.admission.open_bearer(spec),
        )

    async def _write(self, author: Author, asked: DraftAsked) -> dict[str, Any]:
        author.tell(opening(asked.task, asked.workspace, advise(self._means.settings.guideline or GUIDELINE_DEFAULT)))
        tries, script = 0, None
        while True:
            answer = await author.answer()
            tries += 1
            found = await self._look_at(answer, asked)
            script = found.script or script
            is_last = tries > REPAIRS_MAX
            if found.card is not None and not found.faults and (is_last or not found.oddities):
                card = found.card
                return {"script": card.script, "card": msgspec.structs.asdict(card), "tries": tries} | author.told()
            wrong = [*found.faults, *found.oddities]
            if is_last:
                raise unusable(tries, script, wrong)
            author.tell(sent_back(wrong))

    async def _look_at(self, answer: Answer, asked: DraftAsked) -> Found:
        if answer.stop_reason == "max_tokens":
            return Found(None, faults=[CUT_OFF])
        try:
            script = find_script(answer.text)
        except NoScript as fault:
            return Found(None, faults=[str(fault)])
        prepared = await asyncio.to_thread(prepare, script)
        if prepared.error is not None:
            return Found(prepared.source, faults=prepared.profile.problems or [str(prepared.error)])
        launch = Launch(owner=asked.owner, script=prepared.source, workspace=asked.workspace)
        card = await self._means.cards.card(launch)
        faults, oddities = rehearsed(card)
        return Found(prepared.source, card, faults, [*prepared.warnings, *oddities])


def rehearsed(card: Card) -> tuple[list[str], list[str]]:
    """What a rehearsal has shown: what must not stay, and what looks odd."""
    shown = card.dry_run
    if shown is None:
        return ["the script could not be rehearsed"], []
    odd = [warning for warning in shown.warnings if warning.partition(":")[0] in ODD]
    if shown.ended != "returned":
        return [ended_badly(shown.ended, shown.message)], odd
    return ([] if shown.calls else [NO_AGENT]), odd


def spec_of(asked: DraftAsked, settings: Settings, now_ms: int) -> RunSpec:
    """A run that has no script and is in no list: what its one agent asks for is counted under its id."""
    id = RunId(f"wf_draft-{secrets.token_hex(8)}")
    return RunSpec(
        id=id,
        owner=asked.owner,
        session=f"run-{id}",
        name=NAME,
        description="A model writes a workflow script",
        script="",
        body="",
        meta=msgspec.Raw(b"{}"),
        script_sha256="",
        created_ms=now_ms,
        limits=msgspec.structs.replace(settings.limits, retry_seconds=RETRY_SECONDS),
        model=asked.model,
        workspace=asked.workspace,
    )


def unusable(tries: int, script: str | None, problems: Sequence[str]) -> RunError:
    """The author did not manage. What it wrote last goes along: a person may see at a glance what it lacks."""
    text = (
        f"the model wrote no usable script in {tries} tries; the last time: {problems[0]}. "
        "Say more of the task, or name a stronger model"
    )
    return RunError("draft_failed", text, tries=tries, script=script, problems=list(problems))
