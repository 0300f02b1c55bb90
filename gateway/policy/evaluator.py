"""Builds Rego evaluators and words their errors. Not the engine that decides (`embedded.py`); one per thread."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import regorus  # pyright: ignore[reportMissingTypeStubs]

ENTRY_POINT = "data.ringfence.decision"
PATTERNS_CACHED = 4096
"""Compiled globs and regular expressions kept; the library's 128 is fewer than the rules have."""
MESSAGE_CHARS_MAX = 300


class Evaluator(Protocol):
    """What we use of the library's engine. Every method raises `RuntimeError` when the policies fail."""

    def add_policy(self, path: str, rego: str) -> object: ...
    def add_data_json(self, data: str) -> None: ...
    def set_input_json(self, input: str) -> None: ...
    def eval_rule(self, rule: str) -> object: ...
    def eval_query(self, query: str) -> object: ...


def build_evaluator(modules: Mapping[str, str], data_json: str) -> Evaluator:
    """An evaluator over `modules` and `data_json`. Raises `RuntimeError` with file and line on a syntax error."""
    library = cast("Any", regorus)
    library.set_cache_config(regex=PATTERNS_CACHED, glob=PATTERNS_CACHED)
    engine = cast("Evaluator", library.Engine())
    for name, text in modules.items():
        engine.add_policy(name, text)
    engine.add_data_json(data_json)
    return engine


def over_other_data(engine: Evaluator, data_json: str) -> Evaluator:
    """The modules of `engine` over `data_json`; they are not parsed again. On the same thread only."""
    copy = cast("Any", engine).clone()
    copy.clear_data()
    copy.add_data_json(data_json)
    return copy


def syntax_tree(engine: Evaluator) -> str:
    """The syntax trees of all modules, as JSON (`reads.py` reads them)."""
    return cast("Any", engine).get_ast_as_json()


def first_line(error: Exception) -> str:
    """The evaluator's message without source excerpt and backtrace."""
    lines = [line.strip() for line in str(error).partition("Stack backtrace")[0].splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith("error:")), lines[0] if lines else type(error).__name__)
    return chosen.removeprefix("error:").strip()[:MESSAGE_CHARS_MAX]


def place_of(error: Exception) -> tuple[str, int]:
    """File and line that the evaluator's message names; empty and 0 when it names none."""
    for line in str(error).splitlines():
        head, _, rest = line.strip().partition("--> ")
        if not head and rest:
            file, _, position = rest.partition(":")
            number = position.partition(":")[0]
            return file, int(number) if number.isdigit() else 0
    return "", 0
