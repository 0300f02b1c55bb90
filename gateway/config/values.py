"""Reads one mapping of the document by key and by type, and reports what nobody asked for. Knows no section.

Every reader returns something usable after reporting a problem, so that one fault does not hide the next; what it
returns then is never served, because a configuration with a problem is refused as a whole.
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from gateway.config.document import Entry, Text
from gateway.config.model import Secret
from gateway.core.money.pricing import NANOUSD_PER_USD

USD_MAX = 1_000_000_000
"""Largest limit in dollars: its nano-dollars still fit a 64-bit integer."""
NUMBER_CHARS_MAX = 32

_INTEGER = re.compile(r"[+-]?[0-9][0-9_]*")
_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_SUGGESTION_CUTOFF = 0.6

Choice = TypeVar("Choice", bound=str)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=_SUGGESTION_CUTOFF)), None)


def closest(word: str, known: Sequence[str]) -> str:
    """`did you mean x?`, or what there is to choose from, or nothing when there is nothing."""
    match = nearest(word, known)
    if match is not None:
        return f"did you mean {match}?"
    return "one of: " + ", ".join(known) if known else ""


class Table:
    """A mapping of the document. Members that are absent or null give the default; `done` reports unknown keys."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._keys = entry.members()
        self._asked: list[str] = []
        self._elements: dict[tuple[str, str], Entry] = {}

    def find(self, key: str) -> Entry | None:
        """The member, or None when it is absent or null."""
        self._asked.append(key)
        entry = self._keys.get(key)
        return None if entry is None or entry.absent else entry

    def place_of(self, key: str) -> Entry:
        """Where a finding about `key` is best shown: the member, else the mapping."""
        return self._keys.get(key, self.entry)

    def place_of_text(self, key: str, text: str) -> Entry:
        """Where a finding about `text` is best shown, once `texts(key)` has read it."""
        return self._elements.get((key, text)) or self.place_of(key)

    def done(self) -> None:
        """Report every key that was not asked for."""
        for key, entry in self._keys.items():
            if key not in self._asked:
                entry.key_problem(f"unknown key {entry.name}", closest(key, sorted(set(self._asked))))

    def required(self, key: str) -> str:
        """A text that must be there and not empty."""
        entry = self.find(key)
        if entry is None:
            self.entry.problem(f"{self.entry.name or 'the file'} has no {key}", f"add {key}: ...")
            return ""
        return read_text(entry)

    def text(self, key: str) -> str | None:
        """A text that is not empty."""
        entry = self.find(key)
        return None if entry is None else read_text(entry)

    def choice(self, key: str, choices: Sequence[Choice], default: Choice | None) -> Choice:
        """One of `choices`. `default` None: it must be there."""
        found = self.required(key) if default is None else self.text(key)
        for choice in choices:
            if choice == found:
                return choice
        if found:
            place = self.place_of(key)
            place.problem(f"{place.name} is {shown(place)}", closest(found, choices))
        return choices[0] if default is None else default

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        entry = self.find(key)
        return default if entry is None else read_integer(entry, low=low, high=high)

    def seconds(self, key: str, default: float) -> float:
        """A positive number of seconds, at most a day."""
        entry = self.find(key)
        if entry is None:
            return default
        number = read_number(entry)
        if number is not None and not 0 < number <= 86_400:
            entry.problem(f"{entry.name} is {shown(entry)}", "seconds, above 0 and at most 86400")
        return default if number is None else float(number)

    def flag(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        entry = self.find(key)
        return default if entry is None else read_flag(entry)

    def secret(self, key: str) -> Secret | None:
        """A text that is never shown, fit for a header."""
        entry = self.find(key)
        text = None if entry is None else entry.text()
        if entry is None or text is None:
            return None
        if not text.value or not text.value.isascii() or not text.value.isprintable() or " " in text.value:
            entry.problem(
                f"{entry.name} is empty or has characters that a header cannot carry", "printable ASCII, no space"
            )
        return Secret(text.value)

    def path(self, key: str) -> Path | None:
        """A path, absolute; relative ones start from the folder of the file."""
        found = self.text(key)
        return absolute_path(self.place_of(key), found) if found else None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, none empty and none twice."""
        entry = self.find(key)
        found = {} if entry is None else _text_entries(entry)
        self._elements.update({(key, text): element for text, element in found.items()})
        return tuple(found)

    def mapping(self, key: str) -> dict[str, Entry]:
        """The members of a mapping whose keys are free."""
        entry = self.find(key)
        return {} if entry is None else {name: value for name, value in entry.members().items() if not value.absent}

    def text_mapping(self, key: str) -> Mapping[str, str]:
        """A mapping of free keys to texts."""
        return MappingProxyType({name: read_text(entry) for name, entry in self.mapping(key).items()})

    def table(self, key: str) -> "Table | None":
        """A mapping with keys of its own."""
        entry = self.find(key)
        return None if entry is None else Table(entry)

    def tables(self, key: str) -> list["Table"]:
        """A list of mappings."""
        entry = self.find(key)
        return [] if entry is None else [Table(element) for element in entry.elements()]


def is_loopback(host: str) -> bool:
    """Does `host` name this machine only? A name other than localhost may resolve to anything, so it does not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def shown(entry: Entry) -> str:
    """The value as it is written, for a message: a reference is shown as the reference."""
    return repr(entry.node.value) if isinstance(entry.node, yaml.ScalarNode) else "not a single value"


def absolute_path(entry: Entry, path: str) -> Path | None:
    """`path` from the folder of the file; None after reporting that it is none."""
    if "\0" in path:
        entry.problem(f"{entry.name} is not a usable path", "remove the NUL character")
        return None
    return entry.source.folder / path


def read_text(entry: Entry) -> str:
    """A text that is not empty."""
    text = entry.text()
    if text is not None and not text.value:
        entry.problem(f"{entry.name} is empty", "write a value or remove the key")
    return "" if text is None else text.value


def read_texts(entry: Entry) -> tuple[str, ...]:
    """A list of texts, none empty and none twice."""
    return tuple(_text_entries(entry))


def read_flag(entry: Entry) -> bool:
    """`true` or `false`."""
    text = entry.text()
    if text is None:
        return False
    if not text.plain or text.value not in ("true", "false"):
        entry.problem(f"{entry.name} is {text.written!r}", "true or false")
    return text.value == "true"


def read_integer(entry: Entry, *, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    text = entry.text()
    if text is None:
        return low
    if not _is_number(text, _INTEGER) or not low <= int(text.value) <= high:
        entry.problem(f"{entry.name} is {text.written!r}", f"a whole number from {low} to {high}")
        return low
    return int(text.value)


def read_number(entry: Entry) -> Decimal | None:
    """A decimal number, exactly as written; None after reporting that it is none."""
    text = entry.text()
    if text is None:
        return None
    if not _is_number(text, _NUMBER):
        entry.problem(f"{entry.name} is {text.written!r}", "a number such as 25 or 0.5")
        return None
    return Decimal(text.value)


def read_usd(entry: Entry) -> int:
    """Dollars as nano-dollars, exactly: an amount with more than nine decimals is a problem, not rounded."""
    usd = read_number(entry)
    if usd is None:
        return 1
    if not 0 < usd <= USD_MAX:
        entry.problem(f"{entry.name} is {shown(entry)}", f"dollars, above 0 and at most {USD_MAX}")
        return 1
    nanousd = Fraction(usd) * NANOUSD_PER_USD
    if nanousd.denominator != 1:
        entry.problem(f"{entry.name} is finer than a nano-dollar", "at most nine decimals")
    return max(1, int(nanousd))


def read_any(entry: Entry) -> Any:
    """A free value: mappings, lists, true and false, numbers, null, text. What is quoted is text."""
    if isinstance(entry.node, yaml.MappingNode):
        return {key: read_any(value) for key, value in entry.members().items()}
    if isinstance(entry.node, yaml.SequenceNode):
        return [read_any(element) for element in entry.elements()]
    if entry.absent:
        return None
    text = entry.text()
    if text is None or not text.plain:
        return None if text is None else text.value
    if text.value in ("true", "false"):
        return text.value == "true"
    if _is_number(text, _INTEGER):
        return int(text.value)
    return float(text.value) if _is_number(text, _NUMBER) else text.value


def _text_entries(entry: Entry) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for element in entry.elements():
        text = read_text(element)
        if text and text in found:
            element.problem(f"{entry.name} names {shown(element)} twice", "keep one")
        elif text:
            found[text] = element
    return found


def _is_number(text: Text, pattern: re.Pattern[str]) -> bool:
    return text.plain and len(text.value) <= NUMBER_CHARS_MAX and pattern.fullmatch(text.value) is not None
