"""A model writes a workflow script: asked through the whole gateway, checked, rehearsed, handed over, never started."""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from tests.gateway.running import CREDENTIAL, OLGA, Asked, Refused, Running, Said, reply, running, script
from tests.support.repositories import make_repository
from tests.support.upstream import error_answer, text_block, tool_block

MODEL = "claude-sonnet-5-5"
GOOD = script("const told = await agent('look', {label: 'look'})\nreturn {told}\n", "good")
SYNTAX = script("const told = await agent('look'\nreturn told\n")
NO_META = "return await agent('look')\n"
ENDLESS = script("while (true) await agent('again')\n")
ASLEEP = script("await agent('look')\nawait new Promise(() => {})\n")
THROWS = script("const got = await agent('look')\nreturn got.paths.map((path) => path.name)\n")
SPINS = script("await agent('look')\nwhile (true) {}\n")
IDLE = script("return {done: true}\n")
ODD = script("return await parallel([() => agent('look', {modle: 'haiku'}), () => agent('see')])\n", "odd")


def fenced(text: str) -> str:
    return f"Here it is.\n\n```js\n{text}```\n"


def answering(answers: Sequence[Said]) -> Callable[[Asked], Said]:
    """One after the other; the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


async def draft(gateway: Running, task: str = "Look at it.", **fields: Any) -> dict[str, Any]:
    """Raises `Refused`."""
    return await gateway.call("POST", "workflows/draft", {"task": task, **fields})


def told(asked: Asked) -> str:
    """The last thing that the author was told."""
    return asked.body["messages"][-1]["content"][-1]["text"]


async def test_script_is_handed_over_with_card_tries_and_bill_and_nothing_is_started(tmp_path: Path) -> None:
    say = answering([reply(fenced(GOOD), MODEL, input_tokens=3_000, output_tokens=500)])
    async with running(tmp_path, say) as gateway:
        answer = await draft(gateway, "Count the {routes}.")
        card, usage = answer["card"], answer["usage"]
        assert (answer["script"], answer["tries"], answer["model"]) == (GOOD, 1, MODEL)
        assert (card["name"], card["dry_run"]["ended"], card["dry_run"]["calls"]) == ("good", "returned", 1)
        assert card["consent"]["script_sha256"] and usage["requests"] == 1
        assert usage["cost_complete"] and usage["cost_nanousd"] > 0 and usage["tokens"]["output"] == 500
        assert (await gateway.call("GET", "runs"))["runs"] == [] and len(gateway.asked) == 1


async def test_author_is_asked_with_the_guide_and_the_task_and_without_tools(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(GOOD)]), runs={"model": "claude-opus-5-5"}) as gateway:
        await draft(gateway, "Count the {routes}.")
        (asked,) = gateway.asked
        assert asked.body["system"][0]["text"].startswith("You write workflow scripts.") and not asked.tools
        assert "<task>\nCount the {routes}.\n</task>" in told(asked) and asked.body["model"] == "claude-opus-5-5"
        names = {name.lower() for name, _ in gateway.model.received[0].headers}
        assert not [name for name in names if name.startswith("x-ringfence")]


async def test_model_of_the_request_writes_and_the_configured_one_is_on_the_card(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(GOOD)]), runs={"model": MODEL}) as gateway:
        answer = await draft(gateway, model="claude-opus-5-5")
        assert gateway.asked[0].body["model"] == answer["model"] == "claude-opus-5-5"
        assert answer["card"]["phases"][0]["models"][0]["model"] == MODEL


SENT_BACK = {
    "syntax": (fenced(SYNTAX), r"3:1 syntax_error"),
    "no_meta": (fenced(NO_META), r"1:1 meta_missing"),
    "no_script": ("I would rather not.", "there is no script in the answer"),
    "two_scripts": (fenced(GOOD) + fenced(GOOD), "more than one block"),
    "endless": (fenced(ENDLESS), "started agents without end"),
    "asleep": (fenced(ASLEEP), "came to a stand"),
    "throws": (fenced(THROWS), "the script threw: .*workflow.js:3|the script threw: "),
    "spins": (fenced(SPINS), "broke a limit: script_timeout|did not end within"),
    "idle": (fenced(IDLE), "no agent was started"),
    "odd": (fenced(ODD), "item_threw: item 0 .*has no option .*modle"),
}


@pytest.mark.parametrize("case", SENT_BACK)
async def test_script_that_cannot_stay_goes_back_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    answer, why = SENT_BACK[case]
    async with running(tmp_path, answering([answer, fenced(GOOD)])) as gateway:
        drafted = await draft(gateway)
        assert (drafted["script"], drafted["tries"], drafted["usage"]["requests"]) == (GOOD, 2, 2)
        first, second = gateway.asked
        assert re.search(why, told(second)), told(second)
        roles = [message["role"] for message in second.body["messages"]]
        assert roles == ["user", "assistant", "user"] and second.body["messages"][1]["content"][0]["text"] == answer
        assert second.body["system"] == first.body["system"]


async def test_answer_that_was_cut_off_goes_back(tmp_path: Path) -> None:
    cut = reply(fenced(GOOD), MODEL)
    cut.chunks = [chunk.replace(b"end_turn", b"max_tokens") for chunk in cut.chunks if isinstance(chunk, bytes)]
    async with running(tmp_path, answering([cut, fenced(GOOD)])) as gateway:
        assert (await draft(gateway))["tries"] == 2
        assert "write a shorter script" in told(gateway.asked[1])


async def test_tool_call_of_the_author_is_answered_and_it_goes_on(tmp_path: Path) -> None:
    calls = [text_block("I look first."), tool_block("Read", {"file_path": "/etc/passwd"})]
    async with running(tmp_path, answering([calls, fenced(GOOD)])) as gateway:
        assert (await draft(gateway))["tries"] == 2
        result, text = gateway.asked[1].body["messages"][-1]["content"]
        assert result["is_error"] and "There is no tool" in result["content"] and "no script" in text["text"]


async def test_what_only_looks_odd_is_handed_over_when_the_author_leaves_it_so(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(ODD)])) as gateway:
        answer = await draft(gateway)
        assert (answer["script"], answer["tries"], len(gateway.asked)) == (ODD, 4, 4)
        assert "item_threw" in answer["card"]["dry_run"]["warnings"][0]


@pytest.mark.parametrize("bad", [SYNTAX, THROWS], ids=["invalid", "throws"])
async def test_script_that_never_becomes_usable_is_refused_with_what_there_is(tmp_path: Path, bad: str) -> None:
    async with running(tmp_path, answering([fenced(bad)])) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        error = refused.value.error
        assert (refused.value.status, error["type"], error["tries"]) == (422, "draft_failed", 4)
        assert error["script"] == bad and error["problems"] and error["usage"]["requests"] == 4
        assert len(gateway.asked) == 4 and (await gateway.call("GET", "runs"))["runs"] == []


async def test_drafted_script_starts_when_a_person_wants_it(tmp_path: Path) -> None:
    said = answering([fenced(GOOD), "seen"])
    async with running(tmp_path, said) as gateway:
        answer = await draft(gateway)
        run = await gateway.start(answer["script"], scriptSha256=answer["card"]["consent"]["script_sha256"])
        await gateway.ended(run)
        assert await gateway.result(run) == {"told": "seen"}


async def test_command_writes_the_script_into_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RINGFENCE_CREDENTIAL", CREDENTIAL)
    async with running(tmp_path, answering([fenced(GOOD)])) as gateway:
        monkeypatch.setenv("RINGFENCE_URL", gateway.serving.url)
        file = tmp_path / "new.js"
        code = await asyncio.to_thread(main, ["workflows", "draft", "Look at it.", "--output", str(file)])
        assert (code, file.read_text()) == (0, GOOD)
        shown = capsys.readouterr().out
        assert "good" in shown and f"written by {MODEL} in 1 tries for $0.0" in shown
        assert (await gateway.call("GET", "runs"))["runs"] == []


async def test_draft_is_one_admitted_agent_of_its_own_session_and_run(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(SYNTAX), fenced(GOOD)])) as gateway:
        await draft(gateway)
        decisions = gateway.serving.audit("decision")
        (spawn,) = [each for each in decisions if each["kind"] == "spawn"]
        infers = [each for each in decisions if each["kind"] == "infer"]
        assert len(infers) == 2 and spawn["lineage"]["run"].startswith("wf_draft-")
        whose = {(each["lineage"]["session"], each["lineage"]["run"], each["lineage"]["agent"]) for each in decisions}
        assert whose == {(spawn["lineage"]["session"], spawn["lineage"]["run"], spawn["lineage"]["agent"])}
        assert {each["principal"]["user"] for each in decisions} == {"alice"}


async def test_draft_that_policy_does_not_let_live_asks_no_model(tmp_path: Path) -> None:
    policy = {"settings": {"spawn": {"agent_types": ["Explore"]}}}
    async with running(tmp_path, answering([fenced(GOOD)]), policy=policy) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        assert (refused.value.status, refused.value.error["type"]) == (451, "permission_error")
        assert "agents of type" in refused.value.error["message"] and gateway.asked == []


async def test_draft_beyond_the_budget_is_a_billing_error_and_waits_for_nothing(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "daily", "limit_usd": 0.000001, "strict": True}]
    async with running(tmp_path, answering([fenced(GOOD)]), budgets=budgets) as gateway:
        url, body = f"{gateway.serving.url}/ringfence/v1/workflows/draft", {"task": "Look."}
        async with gateway.serving.client.post(url, json=body, headers={"x-api-key": CREDENTIAL}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"]) == (429, "billing_error") and gateway.asked == []
            assert response.headers["x-should-retry"] == "false" and error["usage"]["requests"] == 0


async def test_draft_that_a_fuse_ends_says_which(tmp_path: Path) -> None:
    fuses = {"run": {"requests": 2}}
    async with running(tmp_path, answering([fenced(SYNTAX)]), fuses=fuses) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        assert (refused.value.status, refused.value.error["type"]) == (429, "rate_limit_error")
        assert "fuse" in refused.value.error["message"] and len(gateway.asked) == 2


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (error_answer(400, "invalid_request_error", "no such model"), 400, "invalid_request_error"),
        (error_answer(403, "permission_error", "not for you"), 451, "permission_error"),
    ],
    ids=["request_refused", "not_permitted"],
)
async def test_refusal_of_the_upstream_is_told(tmp_path: Path, answer: Said, status: int, kind: str) -> None:
    async with running(tmp_path, answering([answer])) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        assert (refused.value.status, refused.value.error["type"]) == (status, kind)
        assert re.search("no such model|not for you", refused.value.error["message"]) and len(gateway.asked) == 1


async def test_refusal_of_the_model_is_told_and_not_argued_with(tmp_path: Path) -> None:
    answer = reply("No.", MODEL)
    answer.chunks = [chunk.replace(b"end_turn", b"refusal") for chunk in answer.chunks if isinstance(chunk, bytes)]
    async with running(tmp_path, answering([answer])) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        assert (refused.value.status, refused.value.error["type"]) == (422, "draft_failed")
        assert "refused to write" in refused.value.error["message"] and len(gateway.asked) == 1


async def test_folder_is_told_to_the_author_and_one_outside_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    inside, outside = make_repository(tmp_path / "inside"), tmp_path / "outside"
    outside.mkdir()
    async with running(tmp_path, answering([fenced(GOOD)]), runs={"workspaces": [str(inside)]}) as gateway:
        answer = await draft(gateway, workspace=str(inside))
        assert f"in the folder {inside} with" in told(gateway.asked[0])
        assert answer["card"]["consent"]["project"] == str(inside)
        with pytest.raises(Refused) as refused:
            await draft(gateway, workspace=str(outside))
        assert refused.value.status == 400 and len(gateway.asked) == 1


async def test_w09_draft_while_runs_are_off_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(GOOD)]), runs={"enabled": False}) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway)
        assert (refused.value.status, refused.value.error["type"]) == (503, "workflows_disabled")
        assert gateway.asked == []


async def test_blank_task_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, answering([fenced(GOOD)])) as gateway:
        with pytest.raises(Refused) as refused:
            await draft(gateway, " \n")
        assert refused.value.status == 400 and "task" in refused.value.error["message"] and gateway.asked == []


async def test_client_that_leaves_ends_the_model_request_and_nothing_stays_reserved(tmp_path: Path) -> None:
    waits = asyncio.Event()
    answer = reply(fenced(GOOD), MODEL)
    answer.chunks = [*answer.chunks[:3], waits, *answer.chunks[3:]]
    budgets = [{"account": "org", "window": "total", "limit_usd": 100}]
    async with running(tmp_path, answering([answer]), budgets=budgets) as gateway:
        asking = asyncio.create_task(draft(gateway))
        await gateway.model.wait_for_requests(1)
        asking.cancel()
        await asyncio.wait([asking])
        waits.set()
        await gateway.serving.quiet()
        limits = (await gateway.serving.operator("limits?account=org"))["limits"]
        assert limits[0]["held"] == 0
        sessions = (await gateway.call("GET", "sessions", who=OLGA))["sessions"]
        assert [session["active_agents"] for session in sessions] == [0]
