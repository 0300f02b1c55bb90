"""From a script as it came to one that may be run, or to why not. Nothing of it is executed here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from runtime.check.compiler import blank_meta, compile_fault, is_judged
from runtime.check.faults import CheckError
from runtime.check.profile import Profile, Reading, build_profile, in_order, read_script
from runtime.check.syntax import Script, normalise, parse_script


@dataclass(frozen=True, slots=True)
class Prepared:
    """A script that was looked at. With an `error` it must not run; warnings are `[<line>:<column> ]<code>: <text>`."""

    source: str
    """Normalised: what is hashed, stored and shown."""
    sha256: str
    profile: Profile
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON, parsed and never evaluated; empty when there is an error."""
    body: str = ""
    """`source` with spaces instead of `export const meta = ...`: the body of a strict async function, line by line
    and column by column where it was. Empty when there is an error."""
    error: CheckError | None = None
    """The first one; all of them are in `profile.problems`."""
    warnings: tuple[str, ...] = ()


def check(script: str) -> Profile:
    """The profile of a script, from its tree alone. Never raises: whatever is wrong with it is in `problems`."""
    parsed = parse_script(normalise(script))
    if not isinstance(parsed, Script):
        return _unread(parsed)
    reading = read_script(parsed)
    return build_profile(reading, reading.problems)


def prepare(source: str | bytes) -> Prepared:
    """Everything that can be told before a script runs, the compiler's verdict included. Never raises.

    Takes up to a second and a half for a script made to be slow, most of it while other threads can go on.
    """
    try:
        text = normalise(source)
    except UnicodeDecodeError as error:
        return _undecoded(error)
    parsed = parse_script(text)
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
    if not isinstance(parsed, Script):
        return Prepared(text, digest, _unread(parsed), error=parsed[0])
    reading = read_script(parsed)
    problems = _with_verdict(reading)
    return Prepared(
        source=text,
        sha256=digest,
        profile=build_profile(reading, problems),
        meta={} if problems else reading.meta.value,
        body="" if problems else blank_meta(parsed),
        error=problems[0] if problems else None,
        warnings=reading.warnings,
    )


def _with_verdict(reading: Reading) -> tuple[CheckError, ...]:
    """The compiler says better what is wrong; it cannot be asked where it would stumble over a module's words."""
    problems = reading.problems
    unfit = any(problem.code in ("hidden_characters", "module_loading") for problem in problems)
    if unfit or not is_judged(reading.script):
        return problems
    fault = compile_fault(reading.script, reading.bindings)
    if fault is None:
        return problems
    return in_order((fault, *(problem for problem in problems if problem.code != "syntax_error")))


def _unread(problems: tuple[CheckError, ...]) -> Profile:
    return Profile(valid=False, fan_out=None, problems=tuple(map(str, problems)))


def _undecoded(error: UnicodeDecodeError) -> Prepared:
    """What is no text at all is hashed as it came."""
    before = error.object[: error.start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    fault = CheckError("not_unicode", f"byte {error.start} is not UTF-8; save the file as UTF-8.", line, column)
    return Prepared(
        source=error.object.decode(errors="replace"),
        sha256=sha256(error.object).hexdigest(),
        profile=_unread((fault,)),
        error=fault,
    )
