"""Liveness, readiness, metrics."""

from pathlib import Path

from gateway.web.health import build_metrics_app
from tests.support.gateway import serving


async def test_health_and_metrics_answer_on_their_ports(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
            async with gateway.client.get(gateway.url + path) as response:
                assert (response.status, await response.text()) == (200, text)
        async with gateway.client.get(gateway.url + "/metrics") as response:
            assert response.status == 401
        assert "ringfence_in_flight_requests" in await gateway.metrics()


def test_metrics_application_serves_nothing_else() -> None:
    resources = [resource.canonical for resource in build_metrics_app(lambda _: (b"", "")).router.resources()]
    assert resources == ["/metrics"]
