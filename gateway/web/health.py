"""Liveness, readiness, and the metrics page on its own port."""

from collections.abc import Callable

from aiohttp import web


def build_health_routes(is_ready: Callable[[], bool]) -> list[web.RouteDef]:
    """`/healthz`: the process answers. `/readyz`: it can also keep its books."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="store unavailable\n")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def build_metrics_app(render: Callable[[], bytes]) -> web.Application:
    """The application of the metrics port: `/metrics` in Prometheus' text format."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    return app
