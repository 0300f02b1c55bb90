"""How large a workflow is meant to be, and when one counts as large (W191, W192). Advice: nothing is stopped by it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from runtime.core.limits import Limits
from runtime.core.model import RunSpec

Guideline = Literal["small", "medium", "large", "unrestricted"]
AGENTS_MAX = 1_000_000
"""No run has as many."""
GUIDELINE_DEFAULT: Guideline = "medium"
GUIDELINES: Mapping[Guideline, int | None] = MappingProxyType(
    {"small": 5, "medium": 10, "large": 50, "unrestricted": None}
)
"""A workflow has fewer agents than that; None: as many as it likes."""


def advise(guideline: Guideline = GUIDELINE_DEFAULT) -> str:
    """The sentence for a model that writes a script."""
    bound = GUIDELINES[guideline]
    if bound is None:
        return "Use as many agents as the task needs."
    return f"Keep the workflow {guideline}: fewer than {bound} agents, unless the user asks for more."


def warn_past(guideline: Guideline | None, otherwise: int) -> int:
    """Past how many agents a run counts as large: a guideline that somebody chose takes the place of `otherwise`."""
    bound = otherwise + 1 if guideline is None else GUIDELINES[guideline]
    return AGENTS_MAX if bound is None else bound - 1


def large_warning(agents: int, tokens: int, limits: Limits) -> str | None:
    """Why a run counts as large; None: it does not. `tokens`: what it is expected to have taken in the end."""
    if agents > limits.warn_agents:
        return f"{agents} agents: more than {limits.warn_agents} are a large workflow"
    if tokens > limits.warn_tokens:
        return f"{tokens} tokens are to be expected: more than {limits.warn_tokens} are a large workflow"
    return None


def confirm_text(agents: int, tokens: int, spec: RunSpec) -> str | None:
    """Why a person is asked once more before a run goes on (W145); None: nothing is passed."""
    asked = "a person is asked once more"
    if spec.confirm_agents is not None and agents > spec.confirm_agents:
        return f"{agents} agents: past {spec.confirm_agents} (runs.confirm_agents) {asked}"
    if spec.confirm_tokens is not None and tokens > spec.confirm_tokens:
        return f"{tokens} tokens are to be expected: past {spec.confirm_tokens} (runs.confirm_tokens) {asked}"
    return None
