"""Why a tool did not do what an agent asked, in words for that agent. Never a fault of the project."""


class Refused(Exception):
    """The message says what happened, where, and what to do instead."""
