"""How large a workflow is meant to be, and when one counts as large (W191, W192). Advice: nothing is stopped by it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from runtime.core.limits import Limits

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
    """Why a run counts as large; None: it does not."""
    if agents > limits.warn_agents:
        return f"{agents} agents: more than {limits.warn_agents} are a large workflow"
    if tokens > limits.warn_tokens:
        return f"{tokens} tokens: more than {limits.warn_tokens} are a large workflow"
    return None
