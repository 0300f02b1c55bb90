"""What wrappers run: a table of programs and arguments."""

import pytest

from gateway.policy.words import UNKNOWN, Field
from gateway.policy.wrappers import NOTHING, Line, unwrap


def inner(*words: str) -> list[list[str]]:
    return [[word.text for word in one] for one in unwrap(words[0], [Field(word) for word in words[1:]]).commands]


def lines(*words: str) -> list[Line]:
    return list(unwrap(words[0], [Field(word) for word in words[1:]]).lines)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("sudo -u root -E rm x", "rm x"),
        ("sudo -- rm x", "rm x"),
        ("env -i -u A B=1 rm x", "B=1 rm x"),
        ("nice -n 5 rm x", "rm x"),
        ("timeout --signal KILL 5s rm x", "rm x"),
        ("command rm x", "rm x"),
        ("exec -a name rm x", "rm x"),
        ("python3 -m pip install x", "pip install x"),
        ("uv run --with y rm x", "rm x"),
        ("uv pip install x", "pip install x"),
        ("xargs -n 1 rm x", f"rm x {UNKNOWN}"),
        ("xargs -I % rm %", f"rm {UNKNOWN}"),
        ("xargs -I{} rm {}", f"rm {UNKNOWN}"),
        ("find a -exec rm {} ;", f"rm a/{UNKNOWN}"),
        ("find -execdir rm {} +", f"rm ./{UNKNOWN}"),
        ("git bisect run rm x", "rm x"),
        ("flock -w 3 lock rm x", "rm x"),
    ],
)
def test_wrapper_runs_the_command_after_its_own_arguments(words: str, command: str) -> None:
    assert [" ".join(one) for one in inner(*words.split())] == [command]


@pytest.mark.parametrize(
    "words", ["ls -la", "command -v rm", "sudo -v", "make rm", "python3 x.py", "find . -name x", "env"]
)
def test_command_that_runs_nothing_else_is_left_alone(words: str) -> None:
    parts = words.split()
    unwrapped = unwrap(parts[0], [Field(word) for word in parts[1:]])
    assert unwrapped == NOTHING or unwrapped.commands == () == unwrapped.lines


def test_shell_runs_its_text_with_positional_words() -> None:
    assert lines("bash", "-e", "-lc", "rm $1", "zero", "one") == [Line("rm $1", ("zero", "one"))]
    assert lines("ssh", "-p", "22", "host", "rm", "x") == [Line("rm x", remote=True)]
    assert lines("env", "-S", "rm x") == [Line("rm x")]
    assert lines("parallel", "rm", ":::", "a", "b") == [Line("rm a"), Line("rm b")]


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ("sh", True),
        ("bash -s -- x", True),
        ("bash -", True),
        ("bash x.sh", False),
        ("sh -c x", False),
        ("sudo -s", True),
    ],
)
def test_shell_without_text_reads_standard_input(words: str, reads: bool) -> None:
    parts = words.split()
    assert unwrap(parts[0], [Field(word) for word in parts[1:]]).reads_stdin_as_code is reads
