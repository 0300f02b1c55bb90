"""A clock that stands still until a test moves it. Implements `ports.Clock`."""

from dataclasses import dataclass


@dataclass(slots=True)
class FakeClock:
    """`monotonic_seconds` and `now_ms` move together, by `advance`."""

    now_ms: int = 1_767_225_600_000
    """2026-01-01T00:00:00Z, a Thursday."""
    monotonic_seconds: float = 1000.0

    def monotonic(self) -> float:
        return self.monotonic_seconds

    def unix_ms(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.monotonic_seconds += seconds
        self.now_ms += round(seconds * 1000)
