"""What `ringfence check` is told of the policies and of the server that is to decide them."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.model import Policy, PolicyBundle
from gateway.policy.probe import find_problems, policy_problems
from tests.support.clock import FakeClock
from tests.support.opa import free_port, opa_server
from tests.support.policies import write_small

OWN = 'package ringfence\n\ndecision := {"allow": false, "reasons": [{"rule": "a/b", "message": "no"}]}\n'


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return write_small(tmp_path)


def test_policies_in_order_have_no_problem(policies: Path) -> None:
    assert policy_problems(Policy(path=policies), FakeClock()) == []


async def test_problems_of_settings_and_of_the_server_come_together(policies: Path) -> None:
    policy = Policy("opa", f"http://127.0.0.1:{free_port()}", path=policies, settings={"spawn": {"dept": 1}})
    settings, server = await find_problems(policy, FakeClock())
    assert "did you mean depth?" in settings.suggestion
    assert server.file == "policy.url" and "cannot be reached" in server.message and "policy.token" in server.suggestion


async def test_source_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = await find_problems(Policy(bundle=PolicyBundle(git=tmp_path)), FakeClock())
    assert "no policies could be read" in problem.message and problem.file.startswith(str(tmp_path))


async def test_server_that_can_take_policies_is_left_as_it_is(policies: Path) -> None:
    with opa_server() as opa:
        assert await find_problems(Policy("opa", opa.url, path=policies), FakeClock()) == []
        assert opa.policy_ids() == set()


async def test_policy_that_stands_in_the_way_is_named(policies: Path) -> None:
    with opa_server() as opa:
        opa.call("PUT", "/v1/policies/own.rego", OWN)
        (problem,) = await find_problems(Policy("opa", opa.url, path=policies), FakeClock())
    assert "its policy own.rego is of the package ringfence" in problem.message and "push: false" in problem.message


async def test_server_without_the_entry_point_is_a_problem_of_its_bundle() -> None:
    with opa_server() as opa:
        policy = Policy("opa", opa.url, push=False)
        (problem,) = await find_problems(policy, FakeClock())
        opa.call("PUT", "/v1/policies/own.rego", OWN)
        assert await find_problems(policy, FakeClock()) == []
    assert "do not say anything" in problem.message and "data.ringfence.decision" in problem.suggestion


@pytest.mark.parametrize("push", [True, False])
async def test_server_that_refuses_the_token_is_a_problem(policies: Path, push: bool) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401, text=json.dumps({"code": "unauthorized"}), content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with TestServer(app) as server:
        policy = Policy("opa", str(server.make_url("")).rstrip("/"), push=push, path=policies)
        (problem,) = await find_problems(policy, FakeClock())
    assert "answered 401" in problem.message and "policy.token" in problem.suggestion
