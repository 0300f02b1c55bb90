"""The driver inside the child, without its process: frames in, frames out."""

from typing import Any

import msgspec
import pytest

from runtime.core.limits import Limits
from runtime.sandbox import child
from runtime.sandbox.child import Child
from runtime.sandbox.engine import Allowance, Broken, Script, load_prelude
from runtime.sandbox.framing import DELIVER, DRAINED, NEST, READY, START, Frame, FrameFault, Frames
from runtime.sandbox.host import bounds_of

PRELUDE = load_prelude(child.__file__.replace("child.py", "prelude"))


def opening(body: str) -> bytes:
    settings = {"meta": {}, "total": None, "spent": 0, "pipelineNull": "stop", "strictOptions": True}
    return msgspec.json.encode({"body": body, **settings})


def new_child(drain_seconds: float = 2.0, **limits: Any) -> Child:
    return Child(PRELUDE, bounds_of(Limits(**limits)), Allowance(drain_seconds, 60.0))


def answered(serving: Child, kind: int, payload: bytes, id: int = 0) -> Any:
    [frame] = Frames().feed(serving.answer(Frame(kind, id, payload)))
    assert frame.kind == DRAINED
    return msgspec.json.decode(frame.payload)


def settled(id: int, value: Any) -> bytes:
    return msgspec.json.encode({"id": id, "scope": "", "value": value})


def test_script_is_driven_by_frames() -> None:
    serving = new_child()
    assert [op["op"] for op in answered(serving, START, opening("return await agent('x')"))["ops"]] == ["agent"]
    assert not serving.ended
    assert answered(serving, DELIVER, settled(0, "v"), 0)["end"] == {"end": "returned", "value": "v"}
    assert serving.ended


def test_w111_settlements_reach_the_context_that_asked() -> None:
    serving = new_child()
    answered(
        serving, START, opening("const sub = workflow('s')\nconst own = await agent('own')\nreturn [own, await sub]")
    )
    nested = answered(serving, NEST, opening("return await agent('inner')"), 0)
    assert [(op["prompt"], op["nested"], op["id"]) for op in nested["ops"]] == [("inner", 1, 2)]
    assert answered(serving, DELIVER, settled(2, "deep"), 2) | {"cpu_seconds": 0} == {
        "ops": [],
        "end": None,
        "cpu_seconds": 0,
    }
    assert answered(serving, DELIVER, settled(1, "flat"), 1)["end"]["value"] == ["flat", "deep"]


def test_settlement_for_a_workflow_that_has_ended_is_dropped() -> None:
    serving = new_child()
    answered(serving, START, opening("await workflow('s')\nreturn await agent('own')"))
    answered(serving, NEST, opening("agent('left behind')\nreturn 1"), 0)
    assert answered(serving, DELIVER, settled(1, "late"), 1)["ops"] == []
    assert answered(serving, DELIVER, settled(2, "v"), 2)["end"]["value"] == "v"


def test_w101_overrun_breaks_the_run() -> None:
    with pytest.raises(Broken) as caught:
        new_child(0.1).answer(Frame(START, 0, opening("for (;;);")))
    assert caught.value.code == "script_timeout"


def test_frame_that_is_none_for_a_child_is_refused() -> None:
    with pytest.raises(FrameFault, match="none for a sandbox"):
        new_child().answer(Frame(READY, 0, b""))


def test_w101_allowance_tells_which_limit_was_reached() -> None:
    used_up, long = Allowance(2.0, 0.0), Allowance(0.0, 60.0)
    for allowance in (used_up, long):
        allowance.begin()
    with pytest.raises(Broken, match="in all"):
        used_up.left_seconds()
    with pytest.raises(Broken, match="without waiting"):
        long.left_seconds()


def test_engine_leaves_the_prelude_no_callable_of_python() -> None:
    allowance = Allowance(2.0, 60.0)
    allowance.begin()
    script = Script(PRELUDE, bounds_of(Limits()), allowance, lines=2)
    script.tell("start", opening("log(typeof agent)").decode(), 0, "")
    taken = script.drain()
    assert (taken.standing, taken.next_id) == ("ended", 0)
    assert msgspec.json.decode(f"[{','.join(taken.ops)}]") == [{"op": "log", "text": "function", "nested": 0}]
