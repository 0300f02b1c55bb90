"""Reading of shell lines: which commands stand in them, what feeds them, what could not be told. Not decisions."""

import pytest

from gateway.policy.shell import COMMANDS_MAX, TEXT_CHARS_MAX, UNREADABLE, Reading, read_line


def lines_of(text: str) -> list[str]:
    return [" ".join(one.command.argv) for one in read_line(text).found]


def unclear_of(text: str) -> list[str]:
    return list(read_line(text).unclear)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ("# only a comment", []),
        ("ls -la", ["ls -la"]),
        ("a; b && c || d | e & f", ["a", "b", "c", "d", "e", "f"]),
        ("(a; b) && { c; }", ["a", "b", "c"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("for x in 1 2; do a $x; done", ["a 1 2"]),
        ("case x in y) a;; *) b;; esac", ["a", "b"]),
        ("f() { a; }; f", ["a", "f"]),
        ("a $(b) `c` <(d)", ["b", "c", "d", "a \ufffd \ufffd \ufffd"]),
        ('a "x $(b) y"', ["b", "a x \ufffd y"]),
        ("X=1 Y=2 a", ["a"]),
        ("X=1; a $X ${X}y \"$X\" '$X'", ["a 1 1y 1 $X"]),
        ("a $UNKNOWN/b", ["a \ufffd/b"]),
        ("a 'b c' d\\ e", ["a b c d e"]),
        ('a ""', ["a "]),
        ("a {b,c}{1,2}", ["a b1 b2 c1 c2"]),
        ("a '{b,c}'", ["a {b,c}"]),
        ("a $HOME/x ~/y", ["a ~/x ~/y"]),
        ("a <<< x", ["a"]),
        ("a <<E\nb\nE\nc", ["a", "c"]),
        ("a 2>&1 >f", ["a"]),
        ("[[ -n $(a) ]]", ["a"]),
        ("time a b", ["time a b", "a b"]),
        ("sudo -u x a b", ["sudo -u x a b", "a b"]),
        ("sh -c 'a; b'", ["sh -c a; b", "a", "b"]),
        ("export X=1", ["export X=1"]),
        ("! a", ["a"]),
    ],
)
def test_line_is_taken_apart_into_its_commands(text: str, commands: list[str]) -> None:
    assert lines_of(text) == commands


@pytest.mark.parametrize(
    ("text", "program", "fed_by"),
    [
        ("a | b", "b", "a"),
        ("a |& b", "b", "a"),
        ("a | b | c", "c", "b"),
        ("curl x | b | c", "c", "curl"),
        ("a; b", "b", None),
        ("curl x | sudo sh", "sh", "curl"),
        ('sh -c "$(curl x)"', "sh", "curl"),
        ("sh <(curl x)", "sh", "curl"),
        ('eval "$(curl x)"', "eval", "curl"),
        ('echo "$(curl x)"', "echo", None),
    ],
)
def test_program_that_feeds_a_command_is_named(text: str, program: str, fed_by: str | None) -> None:
    fed = {one.command.program: one.command.piped_from for one in read_line(text).found}
    assert fed[program] == fed_by


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("$X a", "name of the program"),
        ('eval "$X"', "not wholly known"),
        ("sh x.sh", "runs the script x.sh"),
        ("python -c 1", "code given to python"),
        ("if; then", "syntax error"),
        ("a | sh", "sh runs what a writes"),
    ],
)
def test_what_cannot_be_told_is_named(text: str, doubt: str) -> None:
    assert any(doubt in one for one in unclear_of(text))


@pytest.mark.parametrize(
    "text", ["ls -la | wc -l", "git commit -m \"$(cat <<'E'\nx\nE\n)\"", "pytest -q tests && echo ok"]
)
def test_plain_line_leaves_nothing_unclear(text: str) -> None:
    assert unclear_of(text) == []


def folder_of(reading: Reading, program: str) -> str:
    return next(one.cwd for one in reading.found if one.command.program == program)


def test_cd_moves_what_follows_and_a_subshell_does_not() -> None:
    assert folder_of(read_line("cd a; cd b; x"), "x") == "a/b"
    assert folder_of(read_line("(cd a); x"), "x") == ""
    assert folder_of(read_line("cd /a && x"), "x") == "/a"
    assert folder_of(read_line("cd -; x"), "x") == "\ufffd"


def test_redirections_are_opened_where_they_stand() -> None:
    reading = read_line("cd a; x < in > out 2>> err &> both 3<&1")
    assert [(one.path, one.access, cwd) for one, cwd in reading.opened] == [
        ("in", "read", "a"),
        ("out", "write", "a"),
        ("err", "write", "a"),
        ("both", "write", "a"),
    ]


def test_command_on_another_host_is_marked() -> None:
    found = read_line("ssh host 'rm x'; rm y").found
    assert [(one.command.argv[-1], one.remote) for one in found if one.command.program == "rm"] == [
        ("x", True),
        ("y", False),
    ]


def test_limits_are_said_and_what_was_found_stands() -> None:
    many = read_line("ls; " * (COMMANDS_MAX + 1))
    assert len(many.found) == COMMANDS_MAX and f"{UNREADABLE}too many commands" in many.unclear
    assert f"{UNREADABLE}the line is too long" in read_line("a" * (TEXT_CHARS_MAX + 1)).unclear
    assert f"{UNREADABLE}nested too deeply" in read_line("sudo " * 20 + "ls").unclear


def test_variables_that_double_each_other_stay_small() -> None:
    reading = read_line("a=x;" + "".join(f'a{i}="$a{i - 1}$a{i - 1}";' for i in range(1, 200)) + "echo $a199")
    assert max(len(word) for one in reading.found for word in one.command.argv) < 20_000


def test_line_that_the_grammar_cannot_read_is_still_looked_at() -> None:
    assert "rm -rf /" in lines_of("if; then\nrm -rf '/'")
    assert "rm -rf / " in lines_of('rm -rf / "')
