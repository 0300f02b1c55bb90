"""An OPA server through OPA's client library, without its retries and its rewriting of policies. Decides nothing."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import opa_client  # pyright: ignore[reportMissingTypeStubs]

from gateway.config.model import Secret


class OpaServer(Protocol):
    """What we use of a server. Raises what the library raises, and `aiohttp.ClientError` and `TimeoutError`."""

    async def ask(self, document: object, path: tuple[str, str], parameters: Mapping[str, str]) -> Any:
        """What it answers about `document`. `path`: a package, and a rule of it."""
        ...

    async def policies(self) -> dict[str, dict[str, Any]]:
        """The modules that it holds by id; `path` in each ends with the package."""
        ...

    async def put_policy(self, id: str, text: str) -> None: ...
    async def remove_policy(self, id: str) -> None: ...
    async def put_data(self, path: str, document: dict[str, Any]) -> None: ...


class LibraryServer:
    """Implements `OpaServer`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def ask(self, document: object, path: tuple[str, str], parameters: Mapping[str, str]) -> Any:
        return await self._client.query_rule(document, *path, query_params=parameters)

    async def policies(self) -> dict[str, dict[str, Any]]:
        return await self._client.get_policies_info()

    async def put_policy(self, id: str, text: str) -> None:
        # The library would rewrite a policy that is refused, and try that one.
        await self._client.update_policy_from_string(text, id, rego_compat=False)

    async def remove_policy(self, id: str) -> None:
        await self._client.delete_policy(id)

    async def put_data(self, path: str, document: dict[str, Any]) -> None:
        await self._client.update_or_create_data(document, path)


@asynccontextmanager
async def open_server(url: str, token: Secret | None, timeout_seconds: float) -> AsyncGenerator[OpaServer]:
    """The server at `url`, which has no path. `timeout_seconds` is for each call."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    client = cast("Any", opa_client).AsyncOpaClient(
        host=f"[{host}]" if ":" in host else host,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        ssl=parts.scheme == "https",
        token=token.reveal() if token is not None else None,
        retries=0,
        timeout=timeout_seconds,
    )
    async with client:
        yield LibraryServer(client)
