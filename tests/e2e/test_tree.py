"""The tree that the gateway shows is the one that the client ran: parents, depths, types, and who asked for whom."""

from collections.abc import Sequence
from pathlib import Path

from tests.e2e.live import going_live
from tests.e2e.script import Block, Conversation
from tests.support.upstream import text_block, tool_block


def spawn(prompt: str, tool_use_id: str, agent_type: str = "general-purpose") -> Block:
    """A call that waits for its agent."""
    spec = {"description": "test", "prompt": prompt, "subagent_type": agent_type, "run_in_background": False}
    return tool_block("Agent", spec, tool_use_id)


def nested(conversation: Conversation) -> Sequence[Block]:
    """Main asks for A, which asks for B, an explorer."""
    if conversation.says("TASK-B"):
        return [text_block("B reports.")]
    if conversation.says("TASK-A"):
        call = spawn("TASK-B: look around", "toolu_e2e_b", "Explore")
        return [call] if conversation.turn == 0 else [text_block("A reports.")]
    return [spawn("TASK-A: go", "toolu_e2e_a")] if conversation.turn == 0 else [text_block("Main ends.")]


def six_at_once(conversation: Conversation) -> Sequence[Block]:
    if conversation.agent != "main":
        return [text_block("Did my part.")]
    if conversation.turn == 0:
        return [spawn(f"PART {part} of six", f"toolu_e2e_part_{part}") for part in range(6)]
    return [text_block("All six are back.")]


def searching(conversation: Conversation) -> Sequence[Block]:
    """Main searches the web, for which the client asks the model on the side."""
    if conversation.body["tools"][0].get("name") == "web_search":
        return [text_block("Nothing was found.")]
    call = tool_block("WebSearch", {"query": "fences that ring"}, "toolu_e2e_search")
    return [call] if conversation.turn == 0 else [text_block("Searched.")]


def waking(conversation: Conversation) -> Sequence[Block]:
    """Main asks an agent once, and then sends it a message."""
    if conversation.agent != "main":
        return [text_block(f"Report {conversation.turn}.")]
    if conversation.turn == 0:
        return [spawn("FIRST: go", "toolu_e2e_first")]
    if conversation.turn == 1:
        return [tool_block("ToolSearch", {"query": "select:SendMessage"}, "toolu_e2e_find")]
    if conversation.turn == 2:
        agent = str(conversation.results["toolu_e2e_first"]["content"]).partition("agentId: ")[2].split()[0]
        message = {"to": agent, "summary": "more work", "message": "Please look once more"}
        return [tool_block("SendMessage", message, "toolu_e2e_message")]
    return [text_block("Woken." if conversation.heard("Report 1.") else "Waiting.")]


async def test_nested_agents_stand_below_whoever_asked_for_them(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, nested) as live:
        outcome = await live.run("Use an agent.")
        tree = await live.tree()

    main, a, b = live.model.agents
    assert (outcome.exit_code, outcome.text) == (0, "Main ends.")
    assert [(tree[agent]["parent"], tree[agent]["depth"]) for agent in (main, a, b)] == [(None, 0), ("main", 1), (a, 2)]
    assert [tree[agent]["agent_type"] for agent in (a, b)] == ["general-purpose", "Explore"]
    assert [tree[agent]["tool_use_id"] for agent in (a, b)] == ["toolu_e2e_a", "toolu_e2e_b"]
    assert set(tree) == {main, a, b}


async def test_six_agents_at_once_are_each_joined_to_their_own_call(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, six_at_once) as live:
        outcome = await live.run("Use six agents.")
        tree = await live.tree()

    assert outcome.exit_code == 0 and len(tree) == 1 + 6
    for part in range(6):
        (asked,) = live.model.asked(f"PART {part} of six")
        shown = tree[asked.agent]
        assert (shown["tool_use_id"], shown["parent"], shown["depth"]) == (f"toolu_e2e_part_{part}", "main", 1)
        assert shown["background"] is False


async def test_search_on_the_side_is_its_agents_request_and_no_agent(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, searching) as live:
        outcome = await live.run("Search the web.")
        tree = await live.tree()

    assert (outcome.exit_code, outcome.text) == (0, "Searched.")
    assert len(live.model.arrivals) == 3
    assert (list(tree), tree["main"]["requests"]) == (["main"], 3)


async def test_message_wakes_the_agent_that_was_there_before(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, waking) as live:
        outcome = await live.run("Use an agent twice.")
        tree = await live.tree()

    (agent,) = set(live.model.agents) - {"main"}
    assert (outcome.exit_code, outcome.text) == (0, "Woken.")
    assert set(tree) == {"main", agent}
    assert (tree[agent]["requests"], tree[agent]["resumes"], tree[agent]["tool_use_id"]) == (2, 1, "toolu_e2e_first")


async def test_tree_shown_by_the_command_names_every_agent(client_binary: Path, tmp_path: Path) -> None:
    async with going_live(client_binary, tmp_path, nested) as live:
        await live.run("Use an agent.")
        shown = await live.command("sessions", "show", live.session)

    assert shown.exit_code == 0
    assert all(agent in shown.stdout for agent in live.model.agents)
    assert "(Explore)" in shown.stdout
