"""File patterns as regular expressions: globs, and the lines of a .gitignore. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TYPES = {
    "c": ("c", "h"),
    "cpp": ("cc", "cpp", "cxx", "hh", "hpp", "hxx", "h"),
    "cs": ("cs",),
    "css": ("css", "scss", "less"),
    "go": ("go",),
    "html": ("html", "htm"),
    "java": ("java",),
    "js": ("js", "jsx", "mjs", "cjs", "vue"),
    "json": ("json", "jsonl"),
    "kotlin": ("kt", "kts"),
    "lua": ("lua",),
    "md": ("md", "markdown", "mdx"),
    "php": ("php",),
    "proto": ("proto",),
    "py": ("py", "pyi"),
    "rego": ("rego",),
    "rst": ("rst",),
    "ruby": ("rb",),
    "rust": ("rs",),
    "scala": ("scala",),
    "sh": ("sh", "bash", "zsh"),
    "sql": ("sql",),
    "svelte": ("svelte",),
    "swift": ("swift",),
    "tf": ("tf", "tfvars"),
    "toml": ("toml",),
    "ts": ("ts", "tsx", "mts", "cts"),
    "txt": ("txt",),
    "xml": ("xml", "xsd"),
    "yaml": ("yaml", "yml"),
    "zig": ("zig",),
}


class BadPattern(Exception):
    """The message says what is wrong with it."""


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Matches whole relative paths; one without a slash matches the last name at any depth. Raises `BadPattern`."""
    if ".." in pattern.split("/"):
        raise BadPattern(f"{pattern}: a pattern cannot lead upwards; give the directory as path.")
    pattern = pattern.removeprefix("./")
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return _compile(anywhere + _translate(pattern.lstrip("/"), braces=True), pattern)


def split_globs(patterns: str) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
    """Several of them, by blanks or by commas outside of braces: those to match, and those with `!` not to."""
    wanted: list[re.Pattern[str]] = []
    unwanted: list[re.Pattern[str]] = []
    for pattern in re.split(r"\s+" if "{" in patterns else r"[\s,]+", patterns.strip()):
        if pattern:
            (unwanted if pattern.startswith("!") else wanted).append(compile_glob(pattern.removeprefix("!")))
    return wanted, unwanted


@dataclass(frozen=True, slots=True)
class Ignore:
    """One line of a .gitignore. `base` is the path of its directory with a slash at the end, or empty."""

    base: str
    regex: re.Pattern[str]
    negated: bool
    directories: bool

    def matches(self, path: str, *, is_directory: bool) -> bool:
        if self.directories and not is_directory:
            return False
        return path.startswith(self.base) and self.regex.fullmatch(path[len(self.base) :]) is not None


def parse_ignores(text: str, base: str) -> list[Ignore]:
    """Lines that cannot be understood are passed over."""
    parsed: list[Ignore] = []
    for line in text.splitlines():
        pattern = re.sub(r"(?<!\\)\s+$", "", line)
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!") if negated else pattern
        if not pattern.strip("/") or pattern.startswith("#"):
            continue
        directories = pattern.endswith("/")
        pattern = pattern.rstrip("/")
        anywhere = "" if "/" in pattern else "(?:.*/)?"
        try:
            regex = _compile(anywhere + _translate(pattern.lstrip("/"), braces=False), pattern)
        except BadPattern:
            continue
        parsed.append(Ignore(base, regex, negated, directories))
    return parsed


def is_ignored(rules: Sequence[Ignore], path: str, *, is_directory: bool) -> bool:
    """The last line that matches decides."""
    for rule in reversed(rules):
        if rule.matches(path, is_directory=is_directory):
            return not rule.negated
    return False


def extensions_of(file_type: str) -> tuple[str, ...]:
    """With their dots. Raises `BadPattern`."""
    if file_type not in TYPES:
        raise BadPattern(f"{file_type} is no known type: use glob, or one of {', '.join(sorted(TYPES))}.")
    return tuple(f".{extension}" for extension in TYPES[file_type])


def _compile(regex: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(regex, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"{pattern} is no pattern: {error}.") from None


def _translate(pattern: str, *, braces: bool) -> str:
    out: list[str] = []
    depth = 0
    for token in _tokens(pattern):
        if token in ("{", "}", ",") and braces:
            depth += (token == "{") - (token == "}")
            if depth < 0:
                raise BadPattern(f"{pattern}: a closing brace has no opening one.")
            out.append({"{": "(?:", "}": ")", ",": "|" if depth else ","}[token])
        else:
            out.append(_plain(token))
    if depth:
        raise BadPattern(f"{pattern}: a brace is not closed.")
    return "".join(out)


def _tokens(pattern: str) -> Iterable[str]:
    return re.findall(r"(?:(?<=/)|^)\*\*/|(?<=/)\*\*$|\*+|\[[!^]?\]?[^\]]*\]|\\.|.", pattern, re.DOTALL)


def _plain(token: str) -> str:
    if token == "**/":
        return "(?:[^/]+/)*"
    if token.startswith("*"):
        return "[^/]*" if token == "*" else ".*"
    if token == "?":
        return "[^/]"
    if token.startswith("[") and len(token) > 2:
        negated = token[1] in "!^"
        inside = token[2:-1] if negated else token[1:-1]
        ranges = re.sub("-+", "-", inside)
        escaped = "".join(char if char.isalnum() or char == "-" else f"\\{char}" for char in ranges)
        return f"(?!/)[{'^' if negated else ''}{escaped}]"
    return re.escape(token[-1] if token.startswith("\\") else token)
