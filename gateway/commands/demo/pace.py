"""How fast the demo plays: the pauses between its steps and the speed of the simulated model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`first_token_seconds` and `tokens_per_second` of the model; 0 tokens per second: everything at once."""

    first_token_seconds: float
    tokens_per_second: float
    pause_seconds: float
    """Between scenes, so that people can read."""

    @property
    def scripted(self) -> dict[str, float]:
        """As scenarios say it."""
        return {"first_token_seconds": self.first_token_seconds, "tokens_per_second": self.tokens_per_second}


DEFAULT_PACE = "live"
PACES = {"fast": Pace(0.0, 0.0, 0.0), DEFAULT_PACE: Pace(0.15, 250.0, 0.5), "slow": Pace(0.4, 60.0, 3.0)}
