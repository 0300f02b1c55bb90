"""Reads what clients of the spend-limits API send, strictly: each value of its type, no name that means nothing.

Complaints are worded as that API words them: `<place>: <what is wrong>`, the first one only.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

T = TypeVar("T", bound=str)

BODY_BYTES_MAX = 64 * 1024
TEXT_CHARS_MAX = 256
LIST_ITEMS_MAX = 64


class Malformed(ValueError):
    """A request that cannot be met as it is written; the text is for who wrote it."""


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Malformed, also for a name that comes twice: which one is meant?"""
    try:
        decoded: Any = json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("invalid JSON body") from None
    if not isinstance(decoded, dict):
        raise Malformed(f"Expected object, received {kind_of(decoded)}")
    return cast("dict[str, Any]", decoded)


def kind_of(value: object) -> str:
    """The type of a JSON value, by the name that complaints give it."""
    for name, types in (("null", type(None)), ("boolean", bool), ("number", (int, float)), ("string", str)):
        if isinstance(value, types):
            return name
    return "array" if isinstance(value, list) else "object"


def choices(names: Iterable[str]) -> str:
    """`'a' | 'b'`."""
    return " | ".join(f"'{name}'" for name in names)


class Fields:
    """One JSON object at a place of the body. Every method raises Malformed."""

    def __init__(self, values: Mapping[str, Any], place: str = "") -> None:
        self._values = values
        self._place = place

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def wrong(self, name: str, problem: str) -> Malformed:
        """The complaint about one field."""
        return Malformed(f"{self._place}{name}: {problem}")

    def require_known(self, names: Collection[str]) -> None:
        """A misspelt name would set another limit than was meant."""
        for name in self._values:
            if name not in names:
                raise Malformed(f"{self._place}{_shown(name)}: Unrecognized key")

    def inner(self, name: str) -> "Fields":
        """An object within."""
        return Fields(self._typed(name, dict, "object"), f"{self._place}{name}.")

    def is_null(self, name: str) -> bool:
        """Is it there, and null?"""
        return name in self._values and self._values[name] is None

    def value(self, name: str) -> Any:
        """Whatever it is; None also when it is not there."""
        return self._values.get(name)

    def any_text(self, name: str) -> str:
        """Any string."""
        return self._typed(name, str, "string")

    def text(self, name: str, chars_max: int = TEXT_CHARS_MAX) -> str:
        """A name or a sentence: neither empty nor too long, and printable."""
        text = self.any_text(name)
        problem = text_problem(text, chars_max)
        if problem is not None:
            raise self.wrong(name, problem)
        return text

    def choice(self, name: str, options: Sequence[T], default: T) -> T:
        """One of `options`."""
        if name not in self._values:
            return default
        found = next((option for option in options if option == self._values[name]), None)
        if found is None:
            raise self.not_among(name, options)
        return found

    def not_among(self, name: str, options: Iterable[str]) -> Malformed:
        """The complaint about a value that is none of `options`."""
        value = self._values[name]
        if not isinstance(value, str):
            return self.wrong(name, f"Expected {choices(options)}, received {kind_of(value)}")
        return self.wrong(name, f"Invalid enum value. Expected {choices(options)}, received '{_shown(value)}'")

    def flag(self, name: str) -> bool:
        """True or false; false when it is not there."""
        return name in self._values and self._typed(name, bool, "boolean")

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of names, each once, in order; none when it is not there."""
        items = self._items(name)
        for place, item in enumerate(items):
            problem = text_problem(item) if isinstance(item, str) else f"Expected string, received {kind_of(item)}"
            if problem is not None:
                raise self.wrong(f"{name}.{place}", problem)
        return tuple(sorted(set(items)))

    def percents(self, name: str, default: tuple[int, ...], most: int) -> tuple[int, ...]:
        """An array of whole numbers from 1 to `most`, ascending."""
        if name not in self._values:
            return default
        items = self._items(name)
        for place, item in enumerate(items):
            if type(item) is not int or not 1 <= item <= most:
                raise self.wrong(f"{name}.{place}", f"must be a whole number between 1 and {most}")
        if items != sorted(set(items)):
            raise self.wrong(name, "must be in ascending order")
        return tuple(items)

    def _items(self, name: str) -> list[Any]:
        items: list[Any] = self._typed(name, list, "array") if name in self._values else []
        if len(items) > LIST_ITEMS_MAX:
            raise self.wrong(name, f"Array must contain at most {LIST_ITEMS_MAX} element(s)")
        return items

    def _typed(self, name: str, wanted: type, kind: str) -> Any:
        if name not in self._values:
            raise self.wrong(name, "Required")
        value = self._values[name]
        if not isinstance(value, wanted):
            raise self.wrong(name, f"Expected {kind}, received {kind_of(value)}")
        return value


class Asked:
    """The names and values behind the `?` of a path. A list is written `name[]=a&name[]=b`, or without brackets."""

    def __init__(self, pairs: Iterable[tuple[str, str]], names: Collection[str]) -> None:
        """Raises Malformed for a name that is not in `names`: a misspelt filter would show other limits."""
        self._pairs = list(pairs)
        for name, _ in self._pairs:
            if name.removesuffix("[]") not in names:
                raise Malformed(f"{_shown(name)}: Unrecognized key")

    def one(self, name: str) -> str | None:
        """The value; None when it is not asked for."""
        found = [value for key, value in self._pairs if key == name]
        if len(found) > 1:
            raise Malformed(f"{name}: must be given once")
        return found[0] if found else None

    def several(self, name: str) -> tuple[str, ...]:
        """Every value, each once."""
        return tuple(dict.fromkeys(value for key, value in self._pairs if key.removesuffix("[]") == name))

    def limit(self, default: int, most: int) -> int:
        """How many are asked for."""
        text = self.one("limit")
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise Malformed(f"limit: must be between 1 and {most}")
        return int(text)


def text_problem(text: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """What keeps it from being a name; None: nothing."""
    if not text:
        return "String must contain at least 1 character(s)"
    if len(text) > chars_max:
        return f"String must contain at most {chars_max} character(s)"
    return None if text.isprintable() else "must be printable"


def _shown(text: str) -> str:
    """Somebody else's text in a complaint: short, and harmless in a log."""
    return "".join(char if char.isprintable() else "?" for char in text[:64])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise Malformed(f"{_shown(twice[0])}: given twice")
    return dict(pairs)


def _no_constant(_text: str) -> None:
    raise ValueError("JSON has no such number")
