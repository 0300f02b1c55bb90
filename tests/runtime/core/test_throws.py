"""What is told of scripts that throw or leave agents alone."""

import msgspec
import pytest

from runtime.core.journal import EndedLine, WarningLine
from runtime.core.program import Program, Threw
from runtime.core.throws import NO_ARGS, throw_text
from tests.runtime.core.play import RETURNED, Play, agent

LACKING = Threw(
    message="TypeError: cannot read property 'files' of undefined",
    stack="    at workflow.js:2:30\n    at workflow.js:2:14\n",
)
READS = "const found = args.files.map(look)"


def program(body: str = "return 1", args: bytes | None = None) -> Program:
    given = None if args is None else msgspec.Raw(args)
    return Program(source=body, body=body, meta=msgspec.Raw(b"{}"), args=given)


def test_throw_is_told_with_the_line_where_it_was_thrown() -> None:
    assert throw_text(LACKING, program()) == "TypeError: cannot read property 'files' of undefined (line 2:30)"


@pytest.mark.parametrize("stack", ["", "    at workflow.js:1:1\n", "    at elsewhere:2:30\n"])
def test_throw_that_the_engine_cannot_place_is_told_without_a_line(stack: str) -> None:
    assert throw_text(Threw(message="Error: x", stack=stack), program()) == "Error: x"


def test_w33_type_error_of_a_script_without_its_args_tells_how_to_give_them() -> None:
    assert throw_text(LACKING, program(READS)).endswith(f"(line 2:30); {NO_ARGS}")


@pytest.mark.parametrize(
    ("end", "run"),
    [
        pytest.param(LACKING, program(READS, b"null"), id="args were given"),
        pytest.param(LACKING, program("return found.args.files"), id="other args are read"),
        pytest.param(Threw(message="Error: no"), program(READS), id="another error"),
    ],
)
def test_w33_other_throws_say_nothing_of_args(end: Threw, run: Program) -> None:
    assert NO_ARGS not in throw_text(end, run)


def test_w171_result_that_is_no_json_tells_what_to_return() -> None:
    end = Threw(message="the result cannot be JSON: a cycle at $.a", code="result_not_serializable")
    assert throw_text(end, program()).startswith("the result cannot be JSON: a cycle at $.a; return objects, arrays")


def test_w61_agents_that_nobody_awaited_are_told_by_index_and_label() -> None:
    play = Play(limits={"concurrency": 1}).launched(*(agent(id) for id in range(1, 13)), end=RETURNED)
    [told] = [line.message for line in play.all(WarningLine)]
    assert ": 0 (" in told and " and 2 more; write `await agent(...)`" in told


def test_failed_run_has_the_place_in_its_failure() -> None:
    play = Play().launched(end=Threw(message="Error: x", stack="    at workflow.js:3:7\n"))
    [failure] = [line.failure for line in play.all(EndedLine)]
    assert failure is not None and failure.message == "Error: x (line 3:7)"
