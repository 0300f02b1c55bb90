"""What is wrong with a store for good, and so for its operator. What passes by itself is `ports.StoreAway`."""


class StoreInvalid(Exception):
    """The store cannot be used as it is. The message names it, without secrets, and the next step."""

    def __init__(self, shown: str, problem: str) -> None:
        super().__init__(f"run store {shown}: {problem}")
