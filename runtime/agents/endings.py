"""How an attempt ends before it has a value, as an exception that only conversations know."""

from runtime.core.model import NullReason, Thrown


class AttemptOver(Exception):
    """The attempt gives `null`. `detail` is one sentence for people; `transient`: a fresh attempt may do better."""

    def __init__(self, null: NullReason, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.null: NullReason = null
        self.detail = detail
        self.transient = transient


class CallThrew(Exception):
    """The call rejects with `thrown`."""

    def __init__(self, thrown: Thrown) -> None:
        super().__init__(thrown.message)
        self.thrown = thrown
