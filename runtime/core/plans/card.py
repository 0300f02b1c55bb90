"""The approval card as data (W140, W143): what a person sees before a script runs. How it looks is the surface's.

Nothing here decides whether anybody is asked. The consent it asks for is bound to project, name and script (W142).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from runtime.core.limits import Limits
from runtime.core.model import INHERIT, Tokens
from runtime.core.plans.forecast import Rehearsal, diff_scripts
from runtime.core.plans.preview import (
    AgentRange,
    Cost,
    Earlier,
    PriceRange,
    Share,
    agent_range,
    price_by_history,
    price_by_list,
)
from runtime.core.sizes import large_warning

UNSEEN = "\ufffd"
"""What the static check says of a value that only a run can tell."""
CAUTION = (
    "Every agent is a conversation of its own with a model, and every one is paid for: "
    "a workflow can take many times the tokens of a single session."
)


class PlannedFacts(Protocol):
    """A phase that the script announces."""

    @property
    def title(self) -> str: ...
    @property
    def detail(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...


class SiteFacts(Protocol):
    """A place in the script that calls `agent()`."""

    @property
    def phase(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def agent_type(self) -> str | None: ...
    @property
    def effort(self) -> str | None: ...
    @property
    def more(self) -> bool: ...


class PlaceFacts(Protocol):
    """A place that starts agents and shows no bound."""

    @property
    def line(self) -> int: ...
    @property
    def what(self) -> str: ...


class Facts(Protocol):
    """The static profile of the script."""

    @property
    def agent_calls(self) -> int: ...
    @property
    def fan_out(self) -> int | None: ...
    @property
    def nested_workflows(self) -> int: ...
    @property
    def isolations(self) -> Sequence[str]: ...
    @property
    def planned(self) -> Sequence[PlannedFacts]: ...
    @property
    def sites(self) -> Sequence[SiteFacts]: ...
    @property
    def unbounded(self) -> Sequence[PlaceFacts]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is known of a run that somebody wants to start."""

    project: str
    name: str
    description: str
    script: str
    script_sha256: str
    facts: Facts
    limits: Limits
    run_model: str | None = None
    forced_model: str | None = None
    """Every agent gets it, whatever the script says."""
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """What short names of models stand for."""
    workspace: str | None = None
    cap_nanousd: int | None = None
    """What the run may cost before it is paused."""
    history: Sequence[Earlier] = ()
    """Runs of this name, newest first."""
    typical: Mapping[str | None, Sequence[Tokens]] = field(default_factory=dict[str | None, Sequence[Tokens]])
    """What finished agents took, by agent type."""
    remaining_nanousd: int | None = None
    rehearsal: Rehearsal | None = None
    last_script: str | None = None
    """Of the last run of this name that completed."""
    warnings: Sequence[str] = ()


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a phase. None: only a run can tell. `count`: calls of the dry run, or else call sites."""

    model: str | None
    count: int
    inherited: bool = False
    """The script names none: it is the run's own."""
    agent_type: str | None = None


class CardPhase(msgspec.Struct, frozen=True, kw_only=True):
    """A phase as the script announces it, and which models work in it. `title` None: outside every phase."""

    title: str | None
    detail: str | None = None
    model: str | None = None
    """What the script says of it. A label: it chooses nothing (W85)."""
    calls: int | None = None
    """In the dry run."""
    models: tuple[ModelUse, ...] = ()


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and what a yes is bound to."""

    question: str
    project: str
    name: str
    script_sha256: str
    choices: tuple[Literal["once", "always", "deny"], ...] = ("once", "always", "deny")


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a person needs for a yes or a no. Texts of the script are untrusted: escape them (W177)."""

    name: str
    description: str
    phases: tuple[CardPhase, ...]
    profile: dict[str, Any]
    """The static profile, in full."""
    agents: AgentRange
    inheriting_sites: int
    """Call sites that name no model and no agent type: they get the run's own."""
    forced_model: str | None
    price: PriceRange
    cap_nanousd: int | None
    """At so much the run is paused (W118). None: it has no cap of its own."""
    workspace: str | None
    """The folder in which its agents' tools work. None: they have none."""
    isolations: tuple[str, ...]
    """That the script names, such as `worktree`."""
    remaining_nanousd: int | None
    dry_run: Rehearsal | None
    script: str
    diff: str
    """Against the script of the last run of this name that completed; empty: there was none, or it is the same."""
    consent: Consent
    caution: str = CAUTION
    warnings: tuple[str, ...] = ()


def build_card(proposal: Proposal, cost: Cost) -> Card:
    """Put together; nothing is looked up."""
    agents = _agents(proposal)
    shares = _shares(proposal)
    calls = proposal.rehearsal.calls if proposal.rehearsal is not None else None
    price = price_by_history(proposal.history, calls) or price_by_list(agents, shares, proposal.typical, cost)
    last = proposal.last_script
    return Card(
        name=proposal.name,
        description=proposal.description,
        phases=_phases(proposal),
        profile=msgspec.to_builtins(proposal.facts),
        agents=agents,
        inheriting_sites=sum(_inherits(site) for site in proposal.facts.sites),
        forced_model=proposal.forced_model,
        price=price,
        cap_nanousd=proposal.cap_nanousd,
        workspace=proposal.workspace,
        isolations=tuple(proposal.facts.isolations),
        remaining_nanousd=proposal.remaining_nanousd,
        dry_run=proposal.rehearsal,
        script=proposal.script,
        diff="" if last is None else diff_scripts(last, proposal.script),
        consent=_consent(proposal),
        warnings=(*proposal.warnings, *_warnings(proposal, agents, price)),
    )


def _agents(proposal: Proposal) -> AgentRange:
    facts, rehearsal = proposal.facts, proposal.rehearsal
    bound = facts.fan_out if facts.nested_workflows == 0 else None
    low = min(facts.agent_calls, proposal.limits.agents if bound is None else bound)
    if rehearsal is not None:
        low = rehearsal.calls
        bound = bound if rehearsal.terminated else None
    return agent_range(low, bound, proposal.limits.agents)


def _shares(proposal: Proposal) -> list[Share]:
    """Who would work, in which proportion: as the dry run had it, or once per call site."""
    counted = [
        Share(model=_resolved(proposal, count.model), agent_type=count.agent_type, calls=count.calls)
        for count in (proposal.rehearsal.models if proposal.rehearsal is not None else ())
    ]
    seen = [
        Share(model=_resolved(proposal, site.model), agent_type=_seen(site.agent_type), calls=1)
        for site in proposal.facts.sites
    ]
    return counted or seen or [Share(model=_resolved(proposal, None), agent_type=None, calls=1)]


def _phases(proposal: Proposal) -> tuple[CardPhase, ...]:
    uses: dict[str | None, Counter[tuple[str | None, str | None]]] = {}
    rehearsal = proposal.rehearsal
    if rehearsal is not None:
        for count in rehearsal.models:
            uses.setdefault(count.phase, Counter())[count.model, count.agent_type] += count.calls
    else:
        for site in proposal.facts.sites:
            uses.setdefault(_seen(site.phase), Counter())[site.model, _seen(site.agent_type)] += 1
    planned = {phase.title: phase for phase in proposal.facts.planned}
    calls = {phase.title: phase.calls for phase in rehearsal.phases} if rehearsal is not None else {}
    return tuple(
        CardPhase(
            title=title,
            detail=planned[title].detail if title in planned else None,
            model=planned[title].model if title in planned else None,
            calls=calls.get(title, 0) if rehearsal is not None else None,
            models=tuple(_use(proposal, *key, count) for key, count in uses.get(title, Counter()).items()),
        )
        for title in dict.fromkeys((*planned, *uses))
    )


def _use(proposal: Proposal, model: str | None, agent_type: str | None, count: int) -> ModelUse:
    model = None if model == INHERIT else model
    inherited = model is None and agent_type is None and proposal.forced_model is None
    is_known = model is not None or agent_type is None or proposal.forced_model is not None
    resolved = _resolved(proposal, model) if is_known else None
    return ModelUse(model=resolved, count=count, inherited=inherited, agent_type=agent_type)


def _resolved(proposal: Proposal, model: str | None) -> str | None:
    """As W50 has it, as far as can be told: an agent type may name another."""
    named = proposal.forced_model or (_seen(model) if model not in (None, INHERIT) else proposal.run_model)
    return None if named is None else proposal.models.get(named, named)


def _seen(text: str | None) -> str | None:
    return None if text is None or UNSEEN in text else text


def _inherits(site: SiteFacts) -> bool:
    return site.model in (None, INHERIT) and site.agent_type is None and not site.more


def _consent(proposal: Proposal) -> Consent:
    known = proposal.last_script
    changed = known is not None and known != proposal.script
    again = " Its script has changed since its last run: see the difference." if changed else ""
    return Consent(
        question=f"Run the workflow {proposal.name!r}?{again}",
        project=proposal.project,
        name=proposal.name,
        script_sha256=proposal.script_sha256,
    )


def _warnings(proposal: Proposal, agents: AgentRange, price: PriceRange) -> list[str]:
    rehearsal, remaining = proposal.rehearsal, proposal.remaining_nanousd
    found: list[str] = []
    if agents.unbounded:
        places = ", ".join(f"line {place.line} ({place.what})" for place in proposal.facts.unbounded[:5])
        found.append(f"unbounded: no bound of its agents is visible{f' at {places}' if places else ''}; {agents.text}")
    if rehearsal is not None and rehearsal.ended != "returned":
        found.append(f"dry_run_{rehearsal.ended}: {rehearsal.message}")
    large = large_warning(agents.low, price.tokens_low, proposal.limits)
    if large is not None:
        found.append(f"large_workflow: {large}")
    if remaining is not None and price.high_nanousd is not None and price.high_nanousd > remaining:
        found.append("over_budget: the upper end of the price is more than what is left of the budget")
    return found
