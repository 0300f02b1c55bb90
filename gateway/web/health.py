"""Liveness, readiness, and the metrics page on its own port."""

from collections.abc import Callable

from aiohttp import web


def build_health_routes() -> list[web.RouteDef]:
    """`/healthz`: the process answers. `/readyz`: configuration and policies are loaded, and requests are taken.

    Neither asks for the store: when that is away every gateway says so to its clients, and if all of them went out of
    service at once there would be nobody left to say it.
    """

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def build_metrics_app(page: Callable[[str], tuple[bytes, str]]) -> web.Application:
    """The application of the metrics port: `/metrics`. `page` gives content and type for an `Accept` header."""

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = page(request.headers.get("accept", ""))
        return web.Response(body=body, headers={"content-type": content_type})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    return app
