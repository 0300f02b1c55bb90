"""One attempt around its conversation: model, type, tools, folder, and that everything is closed whatever happens."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runtime.agents.attempts import allowed_tools, resolve_model
from runtime.agents.kinds import AgentKind
from runtime.core.model import CallOptions, Worktree
from tests.runtime.agents.scene import make_run, make_task, staged, value_of
from tests.support.upstream import Answer, error_answer, stream, stream_answer, text_block, tool_block

KEPT = Worktree(path="/worktrees/one", branch="ringfence/one", base="0" * 40, changed=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With one agent type, `reviewer`."""
    agents = tmp_path / ".claude" / "agents"
    agents.mkdir(parents=True)
    definition = "---\nname: reviewer\ntools: Read, Grep\nmodel: claude-haiku-5-5\n---\nYou review with care.\n"
    (agents / "reviewer.md").write_text(definition)
    return tmp_path


@pytest.mark.parametrize(
    ("forced", "option", "kind", "session", "expected"),
    [
        ("f", "o", "k", "s", "f"),
        ("inherit", "o", "k", "s", "o"),
        (None, "o", "k", "s", "o"),
        (None, "inherit", "k", "s", "k"),
        (None, None, "k", "s", "k"),
        (None, None, "inherit", "s", "s"),
        (None, None, None, "s", "s"),
        (None, "haiku", None, "s", "haiku"),
        (None, None, None, None, None),
    ],
    ids=["forced", "forced-inherit", "call", "call-inherit", "type", "type-inherit", "session", "alias", "nobody"],
)
def test_w50_model_is_the_first_that_is_named(
    forced: str | None, option: str | None, kind: str | None, session: str | None, expected: str | None
) -> None:
    run, options = make_run(forced_model=forced, model=session), CallOptions(model=option)
    assert resolve_model(run, options, AgentKind(name="x", model=kind)) == expected


async def test_w50_no_model_at_all_is_said() -> None:
    async with staged() as scene:
        finished = await scene.attempt(make_task(run={"model": None}))
    assert finished.null == "api_error" and "no model" in finished.detail and scene.upstream.received == []


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (None, None, None),
        ({"Read", "Bash"}, None, ["Bash", "Read"]),
        (None, ("Read",), ["Read"]),
        ({"Read", "Bash"}, ("Read", "Edit"), ["Read"]),
        ({"Read"}, ("Edit",), []),
        (None, (), []),
    ],
    ids=["all", "type", "call", "both", "nothing-in-common", "none"],
)
def test_w52_tools_are_what_type_and_call_both_allow(
    kind: set[str] | None, options: tuple[str, ...] | None, expected: list[str] | None
) -> None:
    made = AgentKind(name="x", tools=None if kind is None else frozenset(kind))
    assert allowed_tools(made, CallOptions(tools=options)) == expected


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        ({}, ["Read", "Grep", "Bash"]),
        ({"tools": ("Read", "Bash")}, ["Read", "Bash"]),
        ({"disallowed_tools": ("Bash",)}, ["Read", "Grep"]),
        ({"disallowed_tools": ("Bash(git push *)",)}, ["Read", "Grep"]),
        ({"disallowed_tools": ("bash",)}, ["Read", "Grep"]),
        ({"tools": ("Read",), "disallowed_tools": ("Read",)}, []),
        ({"agent_type": "reviewer"}, ["Read", "Grep"]),
        ({"agent_type": "reviewer", "tools": ("Read", "Bash")}, ["Read"]),
        ({"agent_type": "Explore", "disallowed_tools": ("Grep",)}, ["Read"]),
    ],
    ids=["all", "tools", "disallowed", "in-part", "misspelt", "deny-wins", "type", "type-and-tools", "built-in"],
)
async def test_w52_only_what_is_left_is_offered(workspace: Path, options: dict[str, Any], offered: list[str]) -> None:
    async with staged("Read", "Grep", "Bash") as scene:
        await scene.attempt(make_task(run={"workspace": str(workspace)}, **options))
    sent = scene.upstream.received[0].json()
    assert [tool["name"] for tool in sent.get("tools", [])] == offered


@pytest.mark.parametrize(
    ("folder", "given"),
    [(True, "given: Read, Grep"), (False, "given: none in a run without a workspace")],
    ids=["unknown name", "no workspace"],
)
async def test_w52_tools_that_cannot_be_given_are_told(workspace: Path, folder: bool, given: str) -> None:
    tools = ("Read", "Grep") if folder else ()
    async with staged(*tools) as scene:
        await scene.attempt(make_task(run={"workspace": str(workspace) if folder else None}, tools=("Read", "Reed")))
    [(code, message)] = scene.watch.warnings
    assert code == "missing_tools" and "Reed" in message and message.endswith(given)


async def test_w52_tool_that_was_taken_away_is_not_executed() -> None:
    async with staged("Read", "Bash") as scene:
        scene.upstream.queue(stream_answer([tool_block("Bash", {"command": "id"})]))
        assert value_of(await scene.attempt(make_task(disallowed_tools=("Bash",)))) == "Done."
    assert scene.tools.calls == []


async def test_w08_agent_is_never_offered_what_starts_runs_or_denials() -> None:
    async with staged("StructuredOutput", "ringfence_denied", "Read") as scene:
        await scene.attempt()
    assert [tool["name"] for tool in scene.upstream.received[0].json()["tools"]] == ["Read"]


async def test_w47_type_gives_prompt_tools_and_model_and_composes_with_a_schema(workspace: Path) -> None:
    schema = {"type": "object", "required": ["ok"]}
    async with staged("Read", "Grep", "Bash") as scene:
        scene.upstream.queue(stream_answer([tool_block("StructuredOutput", {"ok": True})], model="claude-haiku-5-5"))
        task = make_task(agent_type="reviewer", schema=schema, run={"workspace": str(workspace)})
        assert value_of(await scene.attempt(task)) == {"ok": True}
    sent = scene.upstream.received[0].json()
    assert sent["model"] == "claude-haiku-5-5" and "You review with care." in sent["system"][0]["text"]
    assert [tool["name"] for tool in sent["tools"]] == ["Read", "Grep", "StructuredOutput"]


@pytest.mark.parametrize("effort", ["low", "max"])
async def test_w47_effort_of_the_call_goes_before_that_of_the_session(effort: str) -> None:
    async with staged() as scene:
        await scene.attempt(make_task(effort=effort, run={"effort": "high"}))
        await scene.attempt(make_task(run={"effort": "high"}))
    assert [request.json()["output_config"]["effort"] for request in scene.upstream.received] == [effort, "high"]


async def test_w51_unknown_type_is_null_and_never_another_type(workspace: Path) -> None:
    async with staged() as scene:
        finished = await scene.attempt(make_task(agent_type="reviwer", run={"workspace": str(workspace)}))
    assert finished.null == "agent_type" and "reviwer" in finished.detail and scene.upstream.received == []


async def test_w46_siblings_of_one_kind_send_the_same_beginning() -> None:
    async with staged("Read") as scene:
        for prompt in ("One.", "Another."):
            await scene.attempt(make_task(prompt, label=prompt, run={"workspace": "/srv/app"}))
    one, other = (request.json() for request in scene.upstream.received)
    assert one["system"] == other["system"] and one["tools"] == other["tools"]
    assert one["system"][0]["cache_control"] == {"type": "ephemeral"} and "/srv/app" in one["system"][-1]["text"]


async def test_w59_worktree_is_where_the_agent_works_and_is_put_away() -> None:
    async with staged("Read") as scene:
        finished = await scene.attempt(make_task(isolation="worktree", attempt=2, run={"workspace": "/srv/app"}))
    assert scene.workspaces.asked == [("/srv/app", "wf_test01-3-2")] and scene.toolboxes.opened == [
        ("/worktrees/one", None)
    ]
    assert scene.workspaces.checkout.finished == 1 and finished.worktree == KEPT
    assert "/worktrees/one" in scene.upstream.received[0].json()["system"][-1]["text"]


async def test_w59_failed_worktree_fails_the_call_loudly() -> None:
    async with staged("Read") as scene:
        scene.workspaces.refusal = "/srv/app is not a git repository"
        finished = await scene.attempt(make_task(isolation="worktree", run={"workspace": "/srv/app"}))
    assert finished.thrown is not None and finished.thrown.code == "workspace"
    assert "not a git repository" in finished.thrown.message
    assert scene.upstream.received == [] and scene.toolboxes.opened == []


async def test_w59_isolation_without_a_workspace_is_refused() -> None:
    async with staged() as scene:
        finished = await scene.attempt(make_task(isolation="worktree"))
    assert finished.thrown is not None and finished.thrown.code == "workspace" and scene.workspaces.asked == []


async def test_w59_folder_that_cannot_be_worked_in_fails_the_call() -> None:
    async with staged() as scene:
        scene.toolboxes.refusal = "/srv/app is gone"
        finished = await scene.attempt(make_task(isolation="worktree", run={"workspace": "/srv/app"}))
    assert finished.thrown is not None and "is gone" in finished.thrown.message
    assert scene.workspaces.checkout.finished == 1


async def test_w59_worktree_of_a_failed_attempt_is_kept_on_the_record() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(error_answer(400, "invalid_request_error", "odd"))
        finished = await scene.attempt(make_task(isolation="worktree", run={"workspace": "/srv/app"}))
    assert finished.null == "api_error" and finished.worktree == KEPT


async def test_w131_cancelled_attempt_closes_tools_and_worktree() -> None:
    async with staged("Bash") as scene:
        started = asyncio.Event()

        async def hang(name: str, tool_input: dict[str, Any]) -> Any:
            started.set()
            await asyncio.Event().wait()

        scene.tools.run = hang
        scene.upstream.queue(stream_answer([tool_block("Bash", {"command": "make"})]))
        task = make_task(isolation="worktree", run={"workspace": "/srv/app"})
        attempt = asyncio.create_task(scene.attempt(task))
        await started.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    assert (scene.tools.closed, scene.workspaces.checkout.finished) == (1, 1)


@pytest.mark.parametrize("members", [{}, {"workspace": "/srv/app"}], ids=["none", "workspace"])
async def test_tools_are_opened_in_the_workspace_and_closed(members: dict[str, Any]) -> None:
    async with staged("Read") as scene:
        await scene.attempt(make_task(run=members))
    assert scene.toolboxes.opened == [(members.get("workspace"), None)] and scene.tools.closed == 1


async def test_w93_usage_is_told_as_it_grows_and_summed_at_the_end() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
    }
    async with staged("Read") as scene:
        scene.upstream.queue(
            stream_answer([tool_block("Read", {})], usage=usage), stream_answer([text_block("ok")], usage=usage)
        )
        finished = await scene.attempt()
    total = finished.usage
    assert (
        len(scene.watch.usages) == 2
        and sum((each.tokens.total for each in scene.watch.usages), 0) == total.tokens.total
    )
    assert (total.tokens.cache_write_5m, total.tokens.cache_write_1h, total.tokens.cache_read) == (40, 20, 14)
    assert (total.requests, total.tool_calls, total.cost_nanousd) == (2, 1, 104_000)


async def test_w93_model_without_a_price_has_no_cost() -> None:
    async with staged() as scene:
        scene.prices.nanousd_per_token = None
        finished = await scene.attempt()
    assert finished.usage.cost_nanousd is None and finished.usage.tokens.total == 120


async def test_w178_transcript_is_hashed_the_same_for_the_same_talk() -> None:
    async with staged() as scene:
        one, same = [await scene.attempt(make_task(attempt=attempt)) for attempt in (1, 2)]
        other = await scene.attempt(make_task("Something else."))
    assert one.transcript_sha256 == same.transcript_sha256 != other.transcript_sha256


async def test_attempts_beside_one_another_do_not_meet() -> None:
    async with staged("Read") as scene:
        scene.upstream.responder = lambda request: stream_answer(
            [text_block(request.json()["messages"][0]["content"][0]["text"])]
        )
        tasks = [make_task(f"Say {number}.") for number in range(20)]
        finished = await asyncio.gather(*(scene.attempt(task) for task in tasks))
    assert [value_of(each) for each in finished] == [f"Say {number}." for number in range(20)]


async def test_stalled_sibling_does_not_hold_up_the_others() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=[stream([text_block("x")])[0], asyncio.Event()]))
        stuck = asyncio.create_task(scene.attempt())
        await scene.upstream.wait_for_requests(1)
        assert value_of(await scene.attempt()) == "Done."
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
