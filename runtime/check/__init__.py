"""Static checks of a workflow script: what can be told of it before anything runs. It is parsed, never executed.

A hint for people and policies, not a guard: what a script may really start is decided when it starts it.
"""

from dataclasses import dataclass

from runtime.check.fanout import Unbounded, estimate_fan_out
from runtime.check.meta import Meta, PlannedPhase, read_meta
from runtime.check.sites import CallSite, Width, find_sites
from runtime.check.sizes import collect_bindings
from runtime.check.syntax import Script, parse_script

__all__ = ["Profile", "check"]


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


def check(script: str) -> Profile:
    """The profile of a script. Never raises: whatever is wrong with the script is in `problems`."""
    parsed = parse_script(script)
    if not isinstance(parsed, Script):
        return Profile(valid=False, fan_out=None, problems=parsed)
    meta, meta_problems = read_meta(parsed)
    problems = (*parsed.problems, *meta_problems)
    return _profile(parsed, meta, problems)


def _profile(script: Script, meta: Meta, problems: tuple[str, ...]) -> Profile:
    bindings = collect_bindings(script.root)
    sites = find_sites(script, bindings)
    fan_out = estimate_fan_out(script, bindings)
    phase_models = tuple(phase.model for phase in meta.phases if phase.model is not None)
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
        problems=problems,
        efforts=sites.values("effort"),
        planned=meta.phases,
        sites=tuple(sites.calls),
        widths=tuple(sites.widths),
        unbounded=fan_out.unbounded,
    )
