"""One upstream as the requests for one model see it: what the model is called there, and what its price depends on."""

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where a model may be asked."""

    upstream: str
    backend: str
    model: str
    """The id that this upstream knows the model by."""
    region: str | None = None
    multiplier: int | None = None
    """Configured ten-thousandths of the list price; None: what region and geography make it."""
