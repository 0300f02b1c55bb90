"""What a command runs besides itself: `sudo rm`, `sh -c 'rm'`, `find -exec rm`, `git -c alias.x='!rm'`. Words in,
words out.

Tables and small readers of argument lists; the shell syntax is `shell.py`. Each wrapper is reported as a command as
well, so that rules can name it. Reach: a program that is not in these tables and runs its arguments is seen only as
itself.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.policy.words import UNKNOWN, Field

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "ash", "mksh", "fish", "rbash", "pwsh"})
INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|tclsh|osascript|Rscript)[0-9.]*")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")


@dataclass(frozen=True, slots=True)
class Line:
    """Text that is run as a shell line of its own. `positional`: its `$0`, `$1`, ..."""

    text: str
    positional: tuple[str, ...] = ()
    remote: bool = False


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What one command runs: words of further commands, further lines, and what cannot be told of them."""

    commands: tuple[tuple[Field, ...], ...] = ()
    lines: tuple[Line, ...] = ()
    unclear: tuple[str, ...] = ()
    remote: bool = False
    reads_stdin_as_code: bool = False


NOTHING = Unwrapped()

_Words = Sequence[Field]
_VALUED: dict[str, str] = {
    # program: short options that take the next word, then long ones
    "sudo": "-u -g -h -p -C -r -t -T -U -D -R --user --group --host --prompt --chdir --chroot",
    "doas": "-u -C",
    "env": "-u -C --unset --chdir",
    "nice": "-n --adjustment",
    "ionice": "-c -n -p --class --classdata",
    "stdbuf": "-i -o -e --input --output --error",
    "timeout": "-s -k --signal --kill-after",
    "gtimeout": "-s -k --signal --kill-after",
    "time": "-f -o --format --output",
    "exec": "-a",
    "xargs": "-I -n -P -L -d -E -s -a --max-args --max-procs --max-lines --delimiter --arg-file --replace",
    "parallel": "-j -I -a --jobs --arg-file",
    "watch": "-n --interval",
    "flock": "-w -E --timeout",
    "strace": "-e -o -p -s -u",
    "chrt": "-p",
    "unshare": "",
    "uv": "--with --python -p --project --directory --env-file",
    "npx": "-p --package",
}
_PLAIN = frozenset(
    "nohup setsid command builtin time nice ionice stdbuf exec coproc doas sudo busybox toybox caffeinate proxychains "
    "proxychains4 torsocks strace ltrace unbuffer fakeroot unshare noglob nocorrect chronic npx bunx".split()
)
_SKIPS_ONE = frozenset({"timeout", "gtimeout", "flock", "taskset", "chrt", "chroot"})
"""Wrappers whose first operand is their own: a duration, a lock, a mask, a root."""
_RUNNERS = {
    ("uv", "run"),
    ("poetry", "run"),
    ("pipenv", "run"),
    ("pdm", "run"),
    ("hatch", "run"),
    ("rye", "run"),
    ("conda", "run"),
    ("bundle", "exec"),
    ("npm", "exec"),
    ("pnpm", "exec"),
    ("yarn", "exec"),
    ("direnv", "exec"),
    ("dotenv", "run"),
    ("mise", "exec"),
}
_CONTAINERS = frozenset({"docker", "podman", "nerdctl", "kubectl", "lxc", "docker-compose"})
_GIT_LINES = (
    "core.sshcommand=",
    "core.editor=",
    "core.pager=",
    "core.fsmonitor=",
    "sequence.editor=",
    "diff.external=",
)
_FIND_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


def unwrap(program: str, arguments: _Words) -> Unwrapped:
    """What `program` runs when it is given `arguments`."""
    if program in SHELLS:
        return _shell(arguments)
    if INTERPRETERS.fullmatch(program):
        return _interpreter(program, arguments)
    reader = _READERS.get(program)
    if reader is not None:
        return reader(arguments)
    if program == "uv" and arguments and arguments[0].text == "pip":
        return _inner((Field("pip"), *arguments[1:]))
    if arguments and (program, arguments[0].text) in _RUNNERS:
        return _inner(_skip_options(program, arguments[1:]))
    if program in _SKIPS_ONE:
        return _inner(_skip_options(program, _skip_options(program, arguments)[1:]))
    if program in _PLAIN:
        return _plain(program, arguments)
    return _container(arguments) if program in _CONTAINERS else NOTHING


def _skip_options(program: str, arguments: _Words) -> _Words:
    valued = _VALUED.get(program, "").split()
    index = 0
    while index < len(arguments):
        text = arguments[index].text
        if text == "--":
            return arguments[index + 1 :]
        if not text.startswith("-") or text == "-":
            break
        index += 2 if text in valued else 1
    return arguments[index:]


def _inner(words: _Words) -> Unwrapped:
    return Unwrapped(commands=(tuple(words),)) if words else NOTHING


def _plain(program: str, arguments: _Words) -> Unwrapped:
    if program == "command" and arguments and re.fullmatch(r"-[pvV]*[vV][pvV]*", arguments[0].text):
        return NOTHING
    rest = _skip_options(program, arguments)
    if not rest and program == "sudo" and any(word.text in ("-s", "-i", "--shell", "--login") for word in arguments):
        return Unwrapped(reads_stdin_as_code=True)
    return _inner(rest)


def _shell(arguments: _Words) -> Unwrapped:
    index = 0
    while index < len(arguments) and arguments[index].text[:1] in "-+" and len(arguments[index].text) > 1:
        text = arguments[index].text
        index += 1
        if re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", text):
            return _shell_line(arguments[index:])
        if text in ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"):
            index += 1
        if re.fullmatch(r"-[a-z]*s[a-z]*", text) or text == "--":
            break
    rest = arguments[index:]
    if not rest or rest[0].text in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        return Unwrapped(reads_stdin_as_code=True)
    if index and re.fullmatch(r"-[a-z]*s[a-z]*", arguments[index - 1].text):
        return Unwrapped(reads_stdin_as_code=True)
    return _script(rest)


def _shell_line(rest: _Words) -> Unwrapped:
    while rest and re.fullmatch(r"-[A-Za-z]+", rest[0].text):
        rest = rest[1:]
    if not rest:
        return NOTHING
    return Unwrapped(lines=(Line(rest[0].text, tuple(word.text for word in rest[1:])),))


def _script(arguments: _Words) -> Unwrapped:
    if not arguments:
        return NOTHING
    return Unwrapped(unclear=(f"runs the script {arguments[0].text[:200]}",))


def _interpreter(program: str, arguments: _Words) -> Unwrapped:
    for index, word in enumerate(arguments):
        if word.text == "-m":
            return _inner(arguments[index + 1 :])
        if word.text in (
            "-c",
            "-e",
            "-E",
            "-r",
            "-p",
            "-pe",
            "-ne",
            "-pi",
            "--eval",
            "--print",
            "eval",
        ) or re.fullmatch(r"-[A-Za-z]*[ce]", word.text):
            return Unwrapped(unclear=(f"code given to {program} on its command line",))
        if not word.text.startswith("-"):
            return NOTHING
    if any(word.text in ("--version", "-V", "-v", "--help", "-h") for word in arguments):
        return NOTHING
    return Unwrapped(unclear=(f"code given to {program} on standard input",))


def _env(arguments: _Words) -> Unwrapped:
    for index, word in enumerate(arguments):
        match = re.fullmatch(r"(?:-[a-z]*S|--split-string=?)(.*)", word.text, re.DOTALL)
        if match:
            rest = [match[1], *(one.text for one in arguments[index + 1 :])]
            return Unwrapped(lines=(Line(" ".join(part for part in rest if part)),))
        if not word.text.startswith("-"):
            break
    return _inner(_skip_options("env", arguments))


def _xargs(arguments: _Words) -> Unwrapped:
    rest = _skip_options("xargs", arguments)
    mark = next((word.text[2:] or "{}" for word in arguments if re.match(r"-[Ii]", word.text)), None)
    if mark is not None and any(word.text == "-I" for word in arguments[: len(arguments) - len(rest)]):
        mark = arguments[[word.text for word in arguments].index("-I") + 1].text
    if mark:
        return _inner([Field(word.text.replace(mark, UNKNOWN)) for word in rest])
    return _inner((*rest, Field(UNKNOWN)) if rest else ())


def _parallel(arguments: _Words) -> Unwrapped:
    rest = _skip_options("parallel", arguments)
    texts = [word.text for word in rest]
    for mark in (":::", "::::", ":::+"):
        if mark in texts:
            template, values = texts[: texts.index(mark)], texts[texts.index(mark) + 1 :]
            return Unwrapped(lines=tuple(Line(" ".join((*template, value))) for value in values[:64]))
    return Unwrapped(lines=(Line(" ".join(texts)),)) if texts else Unwrapped(reads_stdin_as_code=True)


def _joined(program: str, arguments: _Words) -> Unwrapped:
    rest = _skip_options(program, arguments)
    return Unwrapped(lines=(Line(" ".join(word.text for word in rest)),)) if rest else NOTHING


def _with_c(arguments: _Words) -> Unwrapped:
    texts = [word.text for word in arguments]
    lines = [Line(texts[index + 1]) for index, text in enumerate(texts[:-1]) if text in ("-c", "--command")]
    return Unwrapped(lines=tuple(lines))


def _flock(arguments: _Words) -> Unwrapped:
    nested = _with_c(arguments)
    return nested if nested.lines else _inner(_skip_options("flock", _skip_options("flock", arguments)[1:]))


def _find(arguments: _Words) -> Unwrapped:
    roots: list[str] = []
    for word in arguments:
        if word.text[:1] in ("-", "(", "!"):
            break
        roots.append(word.text)
    commands: list[tuple[Field, ...]] = []
    index = 0
    while index < len(arguments):
        if arguments[index].text in _FIND_RUNS:
            words: list[Field] = []
            index += 1
            while index < len(arguments) and arguments[index].text not in (";", "+"):
                words.append(arguments[index])
                index += 1
            commands.extend(tuple(_found(word, root) for word in words) for root in roots or ["."])
        index += 1
    return Unwrapped(commands=tuple(commands))


def _found(word: Field, root: str) -> Field:
    if "{}" not in word.text:
        return word
    return Field(word.text.replace("{}", root.rstrip("/") + "/" + UNKNOWN))


def _fd(arguments: _Words) -> Unwrapped:
    for index, word in enumerate(arguments):
        if word.text in ("-x", "-X", "--exec", "--exec-batch"):
            return _inner([Field(one.text.replace("{}", UNKNOWN)) for one in arguments[index + 1 :]])
    return NOTHING


def _eval(arguments: _Words) -> Unwrapped:
    text = " ".join(word.text for word in arguments if word.text != "--")
    return Unwrapped(lines=(Line(text),)) if text else NOTHING


def _trap(arguments: _Words) -> Unwrapped:
    rest = _skip_options("trap", arguments)
    return Unwrapped(lines=(Line(rest[0].text),)) if len(rest) > 1 else NOTHING


def _alias(arguments: _Words) -> Unwrapped:
    bodies = [word.text.partition("=")[2] for word in arguments if "=" in word.text]
    return Unwrapped(lines=tuple(Line(body) for body in bodies))


def _ssh(arguments: _Words) -> Unwrapped:
    valued = "-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w".split()
    index = 0
    while index < len(arguments) and arguments[index].text.startswith("-"):
        index += 2 if arguments[index].text in valued else 1
    rest = arguments[index + 1 :]
    return Unwrapped(lines=(Line(" ".join(word.text for word in rest), remote=True),)) if rest else NOTHING


def _container(arguments: _Words) -> Unwrapped:
    texts = [word.text for word in arguments]
    for index, text in enumerate(texts[:-2]):
        if text.rpartition("/")[2] in SHELLS and re.fullmatch(r"-[a-z]*c", texts[index + 1]):
            return Unwrapped(lines=(Line(texts[index + 2], remote=True),))
    return NOTHING


def _git(arguments: _Words) -> Unwrapped:
    texts = [word.text for word in arguments]
    lines: list[Line] = []
    for index, text in enumerate(texts):
        lowered = text.lower()
        following = texts[index + 1 :]
        if lowered.startswith("alias.") and "=!" in text:
            lines.append(Line(text.partition("=!")[2]))
        elif lowered.startswith(_GIT_LINES):
            lines.append(Line(text.partition("=")[2]))
        elif text in ("-x", "--exec") and "rebase" in texts[:index] and following:
            lines.append(Line(following[0]))
        elif text in ("foreach", "--tree-filter", "--index-filter", "--msg-filter") and following:
            lines.append(Line(" ".join(word for word in following if word != "--recursive")))
    commands = ()
    if texts[:2] == ["bisect", "run"] and len(texts) > 2:
        commands = (tuple(arguments[2:]),)
    return Unwrapped(commands=commands, lines=tuple(lines))


def _awk(arguments: _Words) -> Unwrapped:
    if any(re.search(r"system\s*\(|\|\s*\"|\|\s*getline|\"\s*\|", word.text) for word in arguments):
        return Unwrapped(unclear=("awk program that runs commands",))
    return NOTHING


def _tar(arguments: _Words) -> Unwrapped:
    lines = [
        Line(word.text.partition("=")[2].removeprefix("exec="))
        for word in arguments
        if word.text.startswith(("--checkpoint-action=", "--to-command=", "--use-compress-program="))
    ]
    return Unwrapped(lines=tuple(lines))


_READERS: dict[str, Callable[[_Words], Unwrapped]] = {
    "env": _env,
    "xargs": _xargs,
    "parallel": _parallel,
    "watch": lambda arguments: _joined("watch", arguments),
    "su": _with_c,
    "runuser": _with_c,
    "script": _with_c,
    "flock": _flock,
    "find": _find,
    "gfind": _find,
    "fd": _fd,
    "fdfind": _fd,
    "eval": _eval,
    "trap": _trap,
    "alias": _alias,
    "source": _script,
    ".": _script,
    "ssh": _ssh,
    "git": _git,
    "awk": _awk,
    "gawk": _awk,
    "mawk": _awk,
    "nawk": _awk,
    "tar": _tar,
}
