"""The settings that rules read: `data/defaults.yaml` with the configuration laid over it, every mistake named.

Not the meaning of a setting: that is its comment in the file.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import yaml

from gateway.policy.bundle import DEFAULTS_FILE, Bundle

MODES = ("enforce", "shadow", "off")
_GATEWAY_MODES = ("enforce", "shadow")
_TEXTS_REMEMBERED = 4
_OPEN = frozenset({"shell.destructive.commands", "shell.package_installs.verbs", "cloud.commands"})
"""Mappings with entries of their own that take further keys as well."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the policies or their settings. `line` is 0 when none is meant."""

    file: str
    line: int
    message: str
    suggestion: str


def parse_defaults(bundle: Bundle) -> tuple[dict[str, Any], list[Problem]]:
    """The defaults of every setting; not to be changed, for the next who asks is given the same."""
    text = bundle.files.get(DEFAULTS_FILE)
    if text is None:
        return {}, [
            Problem(DEFAULTS_FILE, 0, "the file of defaults is missing", "restore it from the packaged policies")
        ]
    defaults, problems = _read_defaults(text)
    return defaults, list(problems)


@lru_cache(maxsize=_TEXTS_REMEMBERED)
def _read_defaults(text: str) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """Remembered, because every example with settings of its own begins with the same defaults."""
    try:
        loaded: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # what PyYAML lets through
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        return {}, (Problem(DEFAULTS_FILE, line, f"not YAML: {error}", "correct the file"),)
    if not isinstance(loaded, dict):
        return {}, (Problem(DEFAULTS_FILE, 1, "not a mapping", "write settings as `name: value`"),)
    return cast("dict[str, Any]", loaded), ()


def merge_settings(bundle: Bundle, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Defaults with `settings` over them. `settings["modes"]` maps rules to enforce, shadow or off.

    A default of null stands for a number that is not set.
    """
    defaults, problems = parse_defaults(bundle)
    if problems:
        return defaults, problems
    defaults = cast("dict[str, Any]", plain(defaults))
    merged = _merge(defaults, plain(settings), "", problems)
    _check_modes(merged, bundle.rules, problems)
    return merged, problems


def plain(value: Any) -> Any:
    """A copy of dicts, lists and plain values only. YAML reads `off` as false: as a mode it is meant as `off`."""
    if isinstance(value, Mapping):
        copied = {str(key): plain(inner) for key, inner in cast("Mapping[object, Any]", value).items()}
        modes = copied.get("modes")
        if isinstance(modes, dict):
            copied["modes"] = {rule: _off(mode) for rule, mode in cast("dict[str, object]", modes).items()}
        return copied
    return [plain(inner) for inner in cast("list[Any]", value)] if isinstance(value, list | tuple) else value


def _off(mode: object) -> object:
    return "off" if mode is False else mode


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        place = f"{path}.{key}" if path else str(key)
        if key not in base:
            if path != "modes" and base and path not in _OPEN:
                problems.append(_problem(place, "there is no such setting", _nearest(str(key), list(base))))
                continue
            merged[key] = value
        elif isinstance(base[key], Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(
                cast("Mapping[str, Any]", base[key]), cast("Mapping[str, Any]", value), place, problems
            )
        elif _kind(base[key]) != _kind(value) and not (base[key] is None and _kind(value) == "a number"):
            wanted = "a number, or null" if base[key] is None else _kind(base[key])
            problems.append(_problem(place, f"is {_kind(value)}", f"give {wanted}"))
        else:
            merged[key] = value
    return merged


def _check_modes(merged: Mapping[str, Any], rules: Sequence[str], problems: list[Problem]) -> None:
    if merged.get("mode") not in _GATEWAY_MODES:
        problems.append(_problem("mode", f"is {merged.get('mode')!r}", "use enforce or shadow"))
    for rule, mode in cast("Mapping[str, object]", merged.get("modes", {})).items():
        if rule not in rules:
            problems.append(_problem(f"modes.{rule}", "there is no such rule", _nearest(rule, rules)))
        if mode not in MODES:
            problems.append(_problem(f"modes.{rule}", f"is {mode!r}", f"use one of: {', '.join(MODES)}"))


def _problem(place: str, message: str, suggestion: str) -> Problem:
    return Problem("policy.settings", 0, f"{place}: {message}", suggestion)


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(sorted(names))}"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else "nothing"
