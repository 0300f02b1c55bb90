"""The floor: a bare aiohttp pass-through, what any gateway in this language must cost. Decides and records nothing.

python -m tests.bench.passthrough PORT UPSTREAM_URL
"""

import sys

import aiohttp
from aiohttp import web
from yarl import URL

BODY_BYTES_MAX = 64 * 1024 * 1024
HOP_BY_HOP = frozenset({"connection", "host", "content-length", "transfer-encoding", "keep-alive"})


def build_app(upstream_url: str) -> web.Application:
    async def forward(request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        url = URL(upstream_url + request.raw_path, encoded=True)
        session = app[SESSION]
        async with session.request(request.method, url, headers=headers, data=await request.read()) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    async def hold_session(app: web.Application):
        connector = aiohttp.TCPConnector(limit=0)
        app[SESSION] = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        yield
        await app[SESSION].close()

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", forward)
    app.cleanup_ctx.append(hold_session)
    return app


SESSION = web.AppKey("session", aiohttp.ClientSession)

if __name__ == "__main__":
    web.run_app(build_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
