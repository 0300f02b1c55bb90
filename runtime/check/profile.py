"""The static facts of a workflow script and everything a check finds in its tree. Parsed, never run.

A hint for people and policies, not a guard: what a script may really start is decided when it starts it.
"""

from dataclasses import dataclass

from runtime.check.advice import find_requires, find_warnings
from runtime.check.fanout import Unbounded, estimate_fan_out
from runtime.check.faults import CheckError
from runtime.check.meta import Meta, PlannedPhase, read_meta
from runtime.check.sites import CallSite, Width, find_sites
from runtime.check.sizes import Bindings, collect_bindings
from runtime.check.syntax import Script, zero_width_warnings

_RANKS = {"hidden_characters": 0, "script_too_complex": 1, "syntax_error": 1}
"""These come first, whatever their place: the others may only follow from them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Static facts of a workflow script. `problems` are `<line>:<column> <code>: <what and what to do>`."""

    valid: bool
    """No problem was found."""
    name: str | None = None
    description: str | None = None
    phases: tuple[str, ...] = ()
    agent_calls: int = 0
    """Call sites of `agent(...)`."""
    fan_out: int | None = 0
    """Most agents that the script itself can start; None when no bound is visible. `nested_workflows` come on top."""
    models: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    isolations: tuple[str, ...] = ()
    nested_workflows: int = 0
    problems: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    planned: tuple[PlannedPhase, ...] = ()
    """The phases once more, with all that is said of them."""
    sites: tuple[CallSite, ...] = ()
    """The first of the call sites."""
    widths: tuple[Width, ...] = ()
    unbounded: tuple[Unbounded, ...] = ()
    """Places that start agents and show no bound."""
    budgeted: bool = False
    """It looks at its budget."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read off the tree of a script."""

    script: Script
    bindings: Bindings
    meta: Meta
    problems: tuple[CheckError, ...]
    """The one that counts first."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """All there are."""
        found = find_warnings(self.script, self.bindings)
        return (*zero_width_warnings(self.script.text), *self.meta.warnings, *found)


def read_script(script: Script) -> Reading:
    """Look at everything once."""
    bindings = collect_bindings(script.root)
    meta, meta_problems = read_meta(script)
    problems = in_order((*meta_problems, *script.problems, *find_requires(script, bindings)))
    return Reading(script, bindings, meta, problems)


def in_order(problems: tuple[CheckError, ...]) -> tuple[CheckError, ...]:
    """Hidden characters, then syntax, then the rest; by place."""
    return tuple(sorted(problems, key=lambda each: (_RANKS.get(each.code, 2), each.line, each.column)))


def build_profile(reading: Reading, problems: tuple[CheckError, ...]) -> Profile:
    """The profile of a script that has these problems."""
    script, bindings, meta = reading.script, reading.bindings, reading.meta
    sites = find_sites(script, bindings)
    fan_out = estimate_fan_out(script, bindings)
    phase_models = tuple(phase.model for phase in meta.phases if phase.model is not None)
    budget = bindings.names.get("budget")
    return Profile(
        valid=not problems,
        name=meta.name,
        description=meta.description,
        phases=tuple(phase.title for phase in meta.phases),
        agent_calls=sites.agent_calls,
        fan_out=None if script.broken else fan_out.agents,
        models=tuple(dict.fromkeys((*sites.values("model"), *phase_models))),
        agent_types=sites.values("agentType"),
        isolations=sites.values("isolation"),
        nested_workflows=sites.workflow_calls,
        problems=tuple(map(str, problems)),
        efforts=sites.values("effort"),
        planned=meta.phases,
        sites=tuple(sites.calls),
        widths=tuple(sites.widths),
        unbounded=fan_out.unbounded,
        budgeted=budget is not None and not budget.declarations,
    )
