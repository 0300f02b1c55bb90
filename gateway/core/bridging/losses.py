"""What a request loses on its way to one upstream, noted as it is found; what it cannot do without refuses it."""

from gateway.core.bridging.features import ACTIONS, Feature
from gateway.core.wire.shapes import Action, Change
from gateway.errors import Reason, Refused


class Losses:
    """The losses of one request, each feature once."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._actions: dict[str, Action] = {}

    def note(self, feature: Feature, *, empty: bool = False) -> None:
        """A place of `feature` was found. `empty`: it holds nothing, so it is left out whatever the table says.

        Raises:
            Refused: CAPABILITY_MISSING, when the feature is one that a request cannot lose.
        """
        if feature.without == "refuse" and not empty:
            raise self.refusal(feature, feature.advice)
        self._actions[feature.id] = ACTIONS[feature.without]

    def refusal(self, feature: Feature, advice: str) -> Refused:
        """The error that says what is missing and what to do instead."""
        return Refused(
            Reason.CAPABILITY_MISSING,
            f"capability_rejected: {feature.id}: the upstream ({self._backend}) lacks {feature.title}; {advice}, or "
            "ask for a model that an upstream with it serves.",
        )

    def changes(self, betas: list[Change]) -> tuple[Change, ...]:
        """Every feature once: what happened to its fields, else what happened to its betas."""
        actions: dict[str, Action] = {change.feature: change.action for change in betas}
        actions |= self._actions
        return tuple(Change(feature, action) for feature, action in actions.items())
