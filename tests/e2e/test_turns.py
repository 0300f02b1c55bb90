"""The client works through the gateway as it does without: turns, tools, several tools at once."""

from collections.abc import Sequence

from tests.e2e.conftest import Scene
from tests.e2e.gateway import CREDENTIAL, UPSTREAM_KEY
from tests.e2e.script import Block, Conversation
from tests.support.upstream import text_block, thinking_block, tool_block


def bash(command: str, tool_use_id: str) -> Block:
    return tool_block("Bash", {"command": command, "description": "test"}, tool_use_id)


async def test_plain_turn_ends_with_the_models_text(scene: Scene) -> None:
    played = await scene.play("Say hello.", lambda _: [thinking_block("hm"), text_block("Hello from the model.")])

    assert (played.outcome.exit_code, played.outcome.text) == (0, "Hello from the model.")
    assert played.wire.request_count == len(played.upstream) == 1


async def test_any_turn_shows_the_upstream_our_credential_and_never_the_clients(scene: Scene) -> None:
    played = await scene.play("Say hello.", lambda _: [text_block("Hello.")])

    received = played.upstream[0].received
    assert UPSTREAM_KEY in str(received.headers)
    assert CREDENTIAL not in str(received.headers) + received.body.decode()


async def test_plain_turn_reaches_the_upstream_byte_for_byte(scene: Scene) -> None:
    played = await scene.play("Say hello.", lambda _: [text_block("Hello.")])

    assert bytes(played.wire.connections[0].sent).endswith(b"\r\n\r\n" + played.upstream[0].received.body)
    assert played.upstream[0].received.raw_path == "/v1/messages?beta=true"


async def test_tool_turn_runs_the_tool_and_goes_on(scene: Scene) -> None:
    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.turn == 0:
            return [text_block("Writing."), bash("echo made > made.txt && cat made.txt", "toolu_e2e_1")]
        return [text_block("Written.")]

    played = await scene.play("Make the file.", script)

    assert (played.outcome.exit_code, played.outcome.text) == (0, "Written.")
    assert (played.workspace / "made.txt").read_text() == "made\n"
    assert "made" in str(played.upstream[1].results["toolu_e2e_1"]["content"])


async def test_parallel_tool_calls_all_run_and_report_in_one_message(scene: Scene) -> None:
    calls = [f"toolu_e2e_{number}" for number in range(5)]

    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.turn == 0:
            return [bash(f"echo {call} > {call}.txt", call) for call in calls]
        return [text_block("All done.")]

    played = await scene.play("Do five things.", script)

    assert sorted(path.stem for path in played.workspace.glob("toolu_*.txt")) == calls
    assert sorted(played.upstream[1].results) == calls
    assert played.wire.request_count == 2


async def test_several_turns_all_reach_the_upstream_byte_for_byte(scene: Scene) -> None:
    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.turn < 4:
            return [bash(f"echo {conversation.turn}", f"toolu_e2e_{conversation.turn}")]
        return [text_block("Counted.")]

    played = await scene.play("Count.", script)

    sent = b"".join(bytes(connection.sent) for connection in played.wire.connections)
    assert all(conversation.received.body in sent for conversation in played.upstream)
    assert len(played.upstream) == 5
