"""Says when a syntax error is TypeScript (W15), and only then: the construct must stand where the compiler stopped.

A guess for people. It decides nothing.
"""

import re

_TYPE = r"(?:string|number|boolean|any|unknown|void|never|object|null|undefined|\{|\[|['\"]|[A-Z]\w*)"
_NAME = r"[A-Za-z_$][\w$]*"

_ANNOTATED = re.compile(rf"[?!]?\s*:\s*{_TYPE}")
_DECLARED = re.compile(
    rf"\b(?:const|let|var)\s+{_NAME}\s*$|\)\s*$|\b(?:public|private|protected|readonly)\s+{_NAME}\s*$"
)
_PARAMETER = re.compile(rf"[(,]\s*(?:\.\.\.)?{_NAME}\s*$")
_BODY_FOLLOWS = re.compile(r"=>|\)\s*(?::[^=]*)?\{")

_STARTS = (
    (re.compile(rf"(?:as|satisfies)\s+(?:const\b|{_TYPE})"), "`as` and `satisfies`"),
    (re.compile(rf"<\s*{_NAME}[^<>]*>\s*\("), "type parameters"),
    (re.compile(r"<\s*(?:[A-Z]\w*|string|number|any|unknown)\s*(?:\[\])?>\s*[\w$({\['\"]"), "type casts"),
    (re.compile(r"!\s*(?:[.;,)\[:=]|$)"), "`!` behind a value"),
)
"""What is TypeScript when it begins where the error is."""
_AROUND = (
    (re.compile(rf"^\s*(?:export\s+)?(?:declare\s+)?interface\s+{_NAME}"), "`interface`"),
    (re.compile(rf"^\s*(?:export\s+)?(?:declare\s+)?type\s+{_NAME}\s*(?:<[^=]*>)?\s*="), "`type`"),
    (re.compile(rf"^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?enum\s+{_NAME}"), "`enum`"),
    (re.compile(rf"^\s*(?:declare|namespace|abstract\s+class)\s+{_NAME}"), "`declare` and the like"),
    (re.compile(rf"\b(?:public|private|protected|readonly)\s+{_NAME}"), "member modifiers"),
)
"""What is TypeScript when the error is in it or right behind it."""


def typescript_hint(line: str, column: int) -> str:
    """A sentence to append, or nothing. `column` counts from 1."""
    found = _construct(line, column - 1)
    return "" if found is None else f". This looks like TypeScript ({found}); scripts are plain JavaScript."


def _construct(line: str, at: int) -> str | None:
    for pattern, what in _STARTS:
        if pattern.match(line, at):
            return what
    for pattern, what in _AROUND:
        for match in pattern.finditer(line):
            if match.start() <= at <= match.end() + 1:
                return what
    return "type annotations" if _is_annotation(line, at) else None


def _is_annotation(line: str, at: int) -> bool:
    """`const a: string`, `(a: string) =>`, `): void {`; but not `call(a: Thing)`, which is another mistake."""
    if not _ANNOTATED.match(line, at):
        return False
    before = line[:at]
    return bool(_DECLARED.search(before) or (_PARAMETER.search(before) and _BODY_FOLLOWS.search(line, at)))
