"""What a configuration names is built, and no cloud's library is imported for it before it is needed."""

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from gateway.config import UpstreamConfig
from gateway.config.backends import BACKENDS
from gateway.upstreams import build_upstream
from gateway.upstreams.simulated import SimulatedUpstream
from gateway.upstreams.simulation.scenario import ScenarioInvalid

CLOUD = {"region": "us-east-1", "project": "acme-ai", "resource": "acme", "workspace": "wrkspc_1"}
LIBRARIES = ("botocore", "google.auth", "azure.identity")


def loaded_after(lines: str) -> str:
    """The cloud libraries that a fresh interpreter has imported once it has run these lines."""
    script = f"{lines}\nimport sys\nprint([name for name in {LIBRARIES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", sorted(BACKENDS))
async def test_each_backend_is_built_under_the_configured_id_in_its_shape(
    name: str, session: aiohttp.ClientSession
) -> None:
    fields = {key: CLOUD[key] for key in BACKENDS[name].keys if key in CLOUD}
    upstream = build_upstream(UpstreamConfig(id=f"my-{name}", backend=name, **fields), session)  # type: ignore[arg-type]
    assert (upstream.id, upstream.backend, upstream.shape) == (f"my-{name}", name, BACKENDS[name].shape)
    await upstream.close()


async def test_scenario_without_suffix_names_a_packaged_one(session: aiohttp.ClientSession) -> None:
    upstream = build_upstream(UpstreamConfig(id="a", backend="simulated", scenario=Path("/etc/demo")), session)
    assert isinstance(upstream, SimulatedUpstream)
    with pytest.raises(ScenarioInvalid, match="name a file, or one of: demo"):
        build_upstream(UpstreamConfig(id="a", backend="simulated", scenario=Path("/etc/dmeo")), session)


def test_gateway_that_names_no_cloud_imports_no_library_of_one() -> None:
    assert loaded_after("import gateway.app") == "[]"


@pytest.mark.parametrize(
    ("backend", "credential"),
    [("aws", "api_key"), ("bedrock", "bearer"), ("foundry", "api_key"), ("foundry", "bearer"), ("vertex", "bearer")],
)
def test_credential_of_the_configuration_needs_no_library(backend: str, credential: str) -> None:
    lines = (
        "from gateway.config import Secret, UpstreamConfig",
        "from gateway.upstreams import build_upstream",
        f"config = UpstreamConfig('a', '{backend}', {credential}=Secret('s'), **{CLOUD})",
        "build_upstream(config, None)",
    )
    assert loaded_after("\n".join(lines)) == "[]"
