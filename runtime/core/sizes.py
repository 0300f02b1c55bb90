"""How large a workflow is meant to be, and when one counts as large (W191, W192). Advice: nothing is stopped by it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from runtime.core.limits import Limits

Guideline = Literal["small", "medium", "large", "unrestricted"]
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


def large_warning(agents: int, tokens: int, limits: Limits, *, guideline: Guideline | None = None) -> str | None:
    """Why a run counts as large; None: it does not. A guideline that somebody chose takes the place of the limit."""
    bound = limits.warn_agents + 1 if guideline is None else GUIDELINES[guideline]
    if bound is not None and agents >= bound:
        return f"{agents} agents: {bound} or more are a large workflow"
    if tokens > limits.warn_tokens:
        return f"{tokens} tokens: more than {limits.warn_tokens} are a large workflow"
    return None
