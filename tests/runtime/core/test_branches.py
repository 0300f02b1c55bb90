"""How branches are named: batches of one drain, long scopes, and what lies above a scope."""

import pytest

from runtime.core.branches import SCOPE_CHARS_MAX, Batches, ancestors_of, fold_scope, group_of
from runtime.core.model import Scope


def scopes(*names: str) -> list[Scope]:
    return [Scope(name) for name in names]


def test_w157_calls_of_one_drain_and_scope_are_told_apart() -> None:
    batches = Batches()
    assert batches.assign(scopes("", "", "/0.1")) == ["/b0.0", "/b0.1", "/0.1"]
    assert batches.assign(scopes("/0.1", "", "", "/0.1")) == ["/0.1/b0.0", "/b1.0", "/b1.1", "/0.1/b0.1"]


def test_w157_call_alone_in_its_drain_keeps_its_scope() -> None:
    batches = Batches()
    assert [batches.assign(scopes("/0.1")) for _ in range(3)] == [["/0.1"]] * 3
    assert batches.assign([]) == []


def test_w157_long_scope_is_folded_to_a_short_one_of_its_own() -> None:
    long, other = Scope("/0.1" * SCOPE_CHARS_MAX), Scope("/0.2" * SCOPE_CHARS_MAX)
    assert fold_scope(long) == fold_scope(long) != fold_scope(other)
    assert len(fold_scope(long)) < 40 and fold_scope(Scope("/0.1")) == "/0.1"


def test_w157_endless_chain_of_batches_stays_short() -> None:
    batches, scope = Batches(), Scope("")
    seen: set[str] = set()
    for _ in range(2_000):
        first, scope = batches.assign([scope, scope])
        seen |= {first, scope}
    assert len(seen) == 4_000 and max(map(len, seen)) <= SCOPE_CHARS_MAX


@pytest.mark.parametrize(
    ("scope", "above", "group"),
    [
        pytest.param("/0.1", [""], "/0", id="item"),
        pytest.param("/0.1/b2.3", ["/0.1", ""], "/0.1/b2", id="batch"),
        pytest.param("/0.1/w0", ["/0.1", ""], "/0.1/w0", id="nested"),
        pytest.param("", [], "", id="root"),
    ],
)
def test_scope_tells_what_is_above_it_and_beside_it(scope: str, above: list[str], group: str) -> None:
    assert list(ancestors_of(Scope(scope))) == above
    assert group_of(Scope(scope)) == group
