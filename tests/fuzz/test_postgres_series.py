"""Globs and arrays that are written for Postgres: the server reads them as Python does."""

import subprocess
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.stores.postgres.series import array_text, pattern_of
from tests.support.postgres import postgres_server

words = st.lists(st.text(alphabet="ab-*?[]!.\\^$+({|\"', Ä\n", max_size=7), max_size=4)


@given(st.lists(words, min_size=1, max_size=8), words)
def test_server_reads_globs_and_arrays_as_python_does(choices: list[list[str]], models: list[str]) -> None:
    """All in one question, because each costs a process."""
    pairs = [(globs, model) for globs in choices if globs for model in ("", "a-b", *models)]
    if not pairs:
        return
    columns = ([pattern_of(globs) for globs, _ in pairs], [model for _, model in pairs])
    literal = [
        f"(SELECT array_agg(e) FROM jsonb_array_elements_text($json${_json(column)}$json$) e)" for column in columns
    ]
    rows = f"unnest({literal[0]}, {literal[1]}) WITH ORDINALITY t(p, m, n)"
    query = f"SELECT string_agg((m ~ p)::int::text, '' ORDER BY n) FROM {rows}"
    expected = "".join(str(int(any(fnmatchcase(model, glob) for glob in globs))) for globs, model in pairs)
    assert _ask(query) == expected


def _json(column: Sequence[str | None]) -> str:
    return msgspec.json.encode(column).decode()


def _ask(query: str) -> str:
    try:
        return postgres_server().psql("postgres", query)
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.stderr) from None


@given(words)
def test_server_reads_an_array_as_it_was(texts: list[str]) -> None:
    query = f"SELECT to_jsonb($json${array_text(texts)}$json$::text[])"
    assert msgspec.json.decode(_ask(query)) == texts
