"""The approval card of a run as people read it, and the question under it. What is on it is the gateway's business."""

from collections.abc import Callable, Sequence

import msgspec

from gateway.commands.output import plain, print_rich
from gateway.commands.run_words import count_text, dollars, several

CHOICES = {"o": "once", "a": "always", "n": "no", "v": "view", "e": "edit", "d": "diff"}


class Approval(msgspec.Struct, frozen=True):
    """Does a person have to say yes?"""

    needed: bool = True
    reason: str | None = None


class ModelUse(msgspec.Struct, frozen=True):
    """A model of a phase."""

    model: str | None = None
    count: int = 0
    inherited: bool = False
    agent_type: str | None = None


class CardPhase(msgspec.Struct, frozen=True):
    """A phase of the script."""

    title: str | None = None
    detail: str | None = None
    model: str | None = None
    calls: int | None = None
    models: list[ModelUse] = []


class AgentRange(msgspec.Struct, frozen=True):
    """How many agents there may be."""

    text: str = "unknown"
    low: int = 0
    high: int = 0
    unbounded: bool = False


class PriceRange(msgspec.Struct, frozen=True):
    """What they may cost."""

    basis: str = ""
    runs: int = 0
    tokens_low: int = 0
    tokens_high: int = 0
    low_nanousd: int | None = None
    high_nanousd: int | None = None
    unpriced: tuple[str, ...] = ()


class DryRun(msgspec.Struct, frozen=True):
    """What the script did with agents that only pretended."""

    ended: str = ""
    message: str = ""
    calls: int = 0
    nested: int = 0


class Consent(msgspec.Struct, frozen=True):
    """What is asked, and of which script."""

    question: str = ""
    project: str = ""
    script_sha256: str = ""


class Card(msgspec.Struct, frozen=True):
    """One card."""

    name: str
    description: str = ""
    phases: list[CardPhase] = []
    agents: AgentRange = AgentRange()
    inheriting_sites: int = 0
    forced_model: str | None = None
    price: PriceRange = PriceRange()
    cap_nanousd: int | None = None
    workspace: str | None = None
    isolations: tuple[str, ...] = ()
    remaining_nanousd: int | None = None
    dry_run: DryRun | None = None
    script: str = ""
    diff: str = ""
    consent: Consent = Consent()
    caution: str = ""
    warnings: list[str] = []
    approval: Approval = Approval()


def print_card(card: Card) -> None:
    """All of it but the script."""
    price = card.price
    lines = [
        f"workflow {card.name}: {card.description}",
        f"  sha256    {card.consent.script_sha256 or '-'}",
        f"  project   {card.consent.project or '-'}",
        f"  tools     {_tools(card)}",
        f"  agents    {card.agents.text}",
        f"  tokens    {_range(card, count_text(price.tokens_low), count_text(price.tokens_high))}",
        f"  price     {_price(card)}",
    ]
    if card.cap_nanousd is not None:
        lines.append(f"  cap       {dollars(card.cap_nanousd)}: the run is paused there")
    if card.remaining_nanousd is not None:
        lines.append(f"  left      {dollars(card.remaining_nanousd)} of the budget")
    lines += [f"  phase     {_phase(phase)}" for phase in card.phases]
    if card.forced_model is not None:
        lines.append(f"  model     {card.forced_model} for every agent, whatever the script says")
    elif card.inheriting_sites:
        verbs = "names none and gets" if card.inheriting_sites == 1 else "name none and get"
        lines.append(f"  model     {several(card.inheriting_sites, 'call site')} {verbs} the run's own")
    if card.dry_run is not None:
        lines.append(f"  dry run   {_dry_run(card.dry_run)}")
    lines += [f"  warning   {warning}" for warning in card.warnings]
    if card.approval.reason:
        lines.append(f"  asked     {card.approval.reason}")
    print_rich(*map(plain, [*lines, *([card.caution] if card.caution else [])]))


def print_text(text: str) -> None:
    """A script or a diff, line by line; nothing in it steers the terminal."""
    print_rich(*(plain(line) for line in text.split("\n")))


def choose(card: Card, ask: Callable[[str], str], *, editable: bool) -> str:
    """`once`, `always`, `no` or `edit`; what is only looked at is shown on the way."""
    offered = ["o", "a", "n", "v", *(["e"] if editable else []), *(["d"] if card.diff else [])]
    while True:
        choice = CHOICES.get(_answer(ask, card.consent.question or f"Run {card.name}?", offered))
        if choice == "view":
            print_text(card.script)
        elif choice == "diff":
            print_text(card.diff)
        elif choice is not None:
            return choice


def _answer(ask: Callable[[str], str], question: str, offered: Sequence[str]) -> str:
    """The first letter of what is offered; anything else is asked again."""
    names = ", ".join(f"[{letter}]{CHOICES[letter][1:]}" for letter in offered)
    said = ask(f"{plain(question)} {names}: ").strip().lower()[:1]
    return said if said in offered else ""


def _tools(card: Card) -> str:
    """What its agents can touch. Which of their calls are allowed is policy's."""
    if card.workspace is None:
        return "none: it has no workspace"
    trees = ", in Git worktrees where the script says so" if "worktree" in card.isolations else ""
    shell = "a shell without network where the gateway can confine one"
    return f"reading and changing files below {card.workspace}, and {shell}{trees}"


def _price(card: Card) -> str:
    price = card.price
    if price.low_nanousd is None or price.high_nanousd is None:
        models = ", ".join(price.unpriced) or "a model that only the run will tell"
        return f"not known: there is no price for {models}"
    bases = {
        "history": f"by the last {several(price.runs, 'run')} of it",
        "typical": "by what such agents took before, at list price",
        "assumed": "a guess: nothing like it ran before, at list price",
    }
    shown = _range(card, dollars(price.low_nanousd), dollars(price.high_nanousd))
    return f"{shown}; {bases.get(price.basis, price.basis)}"


def _range(card: Card, low: str, high: str) -> str:
    """The upper end of what has no bound is that of as many agents as may be: no expectation."""
    agents = card.agents
    if agents.unbounded and card.price.basis != "history":
        return f"{low} for {several(agents.low, 'agent')}, {high} for {agents.high}"
    return low if low == high else f"{low} to {high}"


def _phase(phase: CardPhase) -> str:
    aside = "".join(f" ({text})" for text in (phase.detail, phase.model) if text)
    calls = f": {several(phase.calls, 'agent')} in the dry run" if phase.calls is not None else ""
    uses = ", ".join(f"{use.count} x {use.model or use.agent_type or 'unknown'}" for use in phase.models)
    return f"{phase.title or '(no phase)'}{aside}{calls}{f' [{uses}]' if uses else ''}"


def _dry_run(dry_run: DryRun) -> str:
    """Why it did not return is among the warnings."""
    nested = f", {several(dry_run.nested, 'nested workflow')}" if dry_run.nested else ""
    ended = "" if dry_run.ended == "returned" else f"; it did not return ({dry_run.ended})"
    return f"{several(dry_run.calls, 'agent')}{nested}{ended}"
