"""The backends we have code for, one line each: their shape and which keys an upstream of theirs takes.

The code of a backend is `gateway/upstreams/<name>.py`, imported only when an upstream of it is configured, since it may
need a cloud's library. What a backend lacks is `gateway/capabilities.yaml`; an Anthropic-shaped one lacks nothing by
default.
"""

from dataclasses import dataclass

from gateway.core.wire.shapes import Shape


@dataclass(frozen=True, slots=True)
class Backend:
    """What the configuration must know of a backend before its code is imported."""

    shape: Shape
    keys: tuple[str, ...] = ()
    """Keys that mean something to it, besides those that every upstream takes."""
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    """Keys of which exactly one is needed."""
    base_url: str | None = None
    """Where it is when nothing says otherwise; None: its own code makes the address of the other keys."""
    extra: str | None = None
    """Extra of the package that brings its library: `pip install 'ringfence[<extra>]'`."""
    library: str | None = None
    """Module that finds the cloud's own credentials; not needed with `api_key` or `bearer`."""


BACKENDS: dict[str, Backend] = {
    "anthropic": Backend("anthropic", keys=("base_url", "api_key", "bearer"), base_url="https://api.anthropic.com"),
    "aws": Backend(
        "anthropic",
        keys=("base_url", "api_key", "region", "workspace"),
        required=("region", "workspace"),
        extra="aws",
        library="botocore",
    ),
    "bedrock": Backend(
        "bedrock",
        keys=("base_url", "bearer", "region", "profile"),
        required=("region",),
        extra="bedrock",
        library="botocore",
    ),
    "foundry": Backend(
        "anthropic",
        keys=("base_url", "api_key", "bearer", "resource"),
        one_of=("resource", "base_url"),
        extra="foundry",
        library="azure.identity",
    ),
    "simulated": Backend("anthropic", keys=("scenario",)),
    "vertex": Backend(
        "vertex",
        keys=("base_url", "bearer", "region", "project"),
        required=("region", "project"),
        extra="vertex",
        library="google.auth",
    ),
}
