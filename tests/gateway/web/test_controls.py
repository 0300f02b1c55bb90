"""The operator path of controls, over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import CREDENTIAL, SESSION, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block

PATH = "/ringfence/v1/controls"


async def test_control_is_shown_with_who_when_why_and_recorded(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            async with gateway.post(request_body()) as response:
                await response.read()
            body = {"action": "hold", "target": f"session:{SESSION}", "reason": "looks odd"}
            answer = await gateway.operator("controls", body)
            control = answer["control"]
            assert (answer["in_flight"], answer["warnings"]) == (0, [])
            assert (control["state"], control["by"], control["reason"]) == ("held", "olga", "looks odd")
            assert (await gateway.operator("controls"))["controls"] == [{**answer}]
            assert [record["control"] for record in gateway.audit("control")] == [control] and control["at_ms"] > 0
            for target in (f"agent:{SESSION}/main", "user:alice", "team:anything", "run:wf_1", "org"):
                assert (await gateway.operator("controls", body | {"target": target}))["warnings"] == []
            for target in ("session:typo", f"agent:{SESSION}/typo", "agent:typo/main", "user:typo"):
                (warning,) = (await gateway.operator("controls", body | {"target": target}))["warnings"]
                assert "has not seen" in warning and "typo" in warning
            assert len((await gateway.operator("controls"))["controls"]) == 10


async def test_what_cannot_be_done_is_told_and_changes_nothing(tmp_path: Path) -> None:
    sound = {"action": "stop", "target": "user:alice", "reason": "runaway"}
    faults: list[tuple[dict[str, Any], str]] = [
        (sound | {"action": "pause"}, "action"),
        (sound | {"target": "alice"}, "session:ID, agent:SESSION/AGENT"),
        (sound | {"target": "agent:s"}, "session:ID, agent:SESSION/AGENT"),
        (sound | {"reason": " "}, "a reason of 1 to 500 characters"),
        (sound | {"force": True}, "force"),
        ({"action": "stop"}, "target"),
        (sound | {"action": "release"}, "user alice is neither stopped nor held"),
    ]
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for body, said in faults:
            error = (await gateway.operator("controls", body))["error"]
            assert error["type"] == "invalid_request_error" and said in error["message"]
        await gateway.operator("controls", sound)
        error = (await gateway.operator("controls", sound | {"action": "hold"}))["error"]
        assert "is stopped by olga; release it first" in error["message"]
        assert len((await gateway.operator("controls"))["controls"]) == len(gateway.audit("control")) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_path_is_for_operators_alone(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for headers, status in (({}, 401), ({"x-api-key": CREDENTIAL}, 403)):
            async with gateway.client.request(method, gateway.url + PATH, headers=headers, json={}) as response:
                assert response.status == status
