# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
"""Does a value fit a JSON schema? Draft 7 with `$defs`, by jsonschema; patterns by QuickJS, as JavaScript means them.

Nothing is coerced or filled in, `format` says nothing, nothing is fetched. Run as a program (`judging.py` does), it
answers one line of JSON per line, and ends itself when a question takes more than a second of processor time: no
pattern and no schema that doubles back on itself can hold anybody up. So it imports nothing of this project.
"""

import json
import resource
import signal
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import quickjs
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

CPU_SECONDS_MAX = 1.0
"""Of one question."""
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
ERRORS_MAX = 200
CONTEXT_ERRORS_MAX = 5
"""Of the alternatives of one `anyOf` or `oneOf`."""
MESSAGE_CHARS_MAX = 300
PATH_CHARS_MAX = 300

_NOTHING_ELSE: Any = Registry()  # pyright: ignore[reportUnknownArgumentType]
"""Where references may lead beside the schema itself."""
_SEARCH = "(p => { const [pattern, text] = JSON.parse(p); let found; \
try { found = new RegExp(pattern, 'u') } catch { found = new RegExp(pattern) } return found.test(text) })"

_INAPPLICABLE = (SchemaError, UnknownType, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a schema that is none makes jsonschema raise, a division by zero included."""


@cache
def _search() -> Any:
    return quickjs.Context().eval(_SEARCH)


def _matches(pattern: str, text: str) -> bool:
    return bool(_search()(json.dumps([pattern, text])))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, properties: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not _is_object(instance):
        return
    for pattern, subschema in properties.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not _is_object(instance):
        return
    patterns = schema.get("patternProperties", {})
    extras: list[str] = [
        name
        for name in instance
        if name not in schema.get("properties", {}) and not any(_matches(each, name) for each in patterns)
    ]
    if _is_object(allowed):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and extras:
        yield ValidationError(f"additional properties are not allowed: {', '.join(map(repr, extras))}")


_extend: Any = extend
_Validator: Any = _extend(
    Draft7Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)


def mismatches(schema: Any, value: Any) -> list[tuple[str, str]]:
    """JSON pointer and message of each place that does not fit, by place. Raises `ValueError`: no usable schema."""
    try:
        found = _Validator(schema, registry=_NOTHING_ELSE).iter_errors(value)
        told = [pair for error in found for pair in _told(error)]
    except Unresolvable as fault:
        raise ValueError(f"$ref {fault.ref!r} leads nowhere within the schema") from None
    except RecursionError:
        raise ValueError("the schema refers to itself without an end") from None
    except quickjs.JSException as fault:
        why = str(cast(Exception, fault)).splitlines()[0]
        raise ValueError(f"a pattern is no regular expression: {why}") from None
    except _INAPPLICABLE as fault:
        raise ValueError(
            f"the schema cannot be applied: {str(fault)[:MESSAGE_CHARS_MAX] or type(fault).__name__}"
        ) from None
    return sorted(dict.fromkeys(told))[:ERRORS_MAX]


def _told(error: Any) -> Iterator[tuple[str, str]]:
    yield _pointer(error), error.message[:MESSAGE_CHARS_MAX]
    for each in (error.context or ())[:CONTEXT_ERRORS_MAX]:
        yield _pointer(each), each.message[:MESSAGE_CHARS_MAX]


def _pointer(error: Any) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
    return "".join(f"/{part}" for part in parts)[:PATH_CHARS_MAX]


def _answer(line: bytes) -> dict[str, Any]:
    question = json.loads(line)
    try:
        return {"mismatches": mismatches(question["schema"], question["value"])}
    except ValueError as fault:
        return {"unusable": str(fault)}


def main() -> None:
    """Answer until there is no more question."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS_MAX)
        answer = _answer(line)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
