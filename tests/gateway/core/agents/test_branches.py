"""Who hangs below whom."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.agents.branches import Branches


@dataclass(eq=False)
class Twig:
    """The least that can hang in a tree."""

    id: str
    parent: str | None = None
    depth: int = 0
    parent_inferred: bool = False


def grown(*pairs: tuple[str, str | None]) -> Branches[Twig]:
    """Agents and their parents, in the order of their coming."""
    branches: Branches[Twig] = Branches()
    for id, parent in pairs:
        branches.hang(Twig(id), parent)
    return branches


def depths(branches: Branches[Twig]) -> dict[str, int]:
    """How deep each one hangs."""
    return {id: twig.depth for id, twig in branches.agents.items()}


def test_agent_without_a_parent_hangs_below_main_whether_that_was_seen_or_not() -> None:
    assert depths(grown(("a", None))) == {"a": 1}
    assert depths(grown(("main", None), ("a", "main"), ("b", "a"))) == {"main": 0, "a": 1, "b": 2}


def test_agent_whose_parent_comes_later_is_put_right_with_all_below_it() -> None:
    branches = grown(("c", "b"), ("d", "c"), ("b", "a"), ("a", None))
    assert depths(branches) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert branches.deepest == 4


def test_depth_that_is_told_holds_until_the_parent_comes() -> None:
    branches: Branches[Twig] = Branches()
    branches.hang(Twig("c"), "b", 5)
    told = branches.deepest
    branches.hang(Twig("b"), None)
    assert (told, depths(branches), branches.deepest) == (5, {"c": 2, "b": 1}, 2)


def test_agent_that_would_be_above_itself_hangs_below_main() -> None:
    branches = grown(("a", "b"), ("b", "a"), ("c", "c"))
    assert depths(branches) == {"b": 1, "a": 2, "c": 1}
    assert [branches.agents[id].parent_inferred for id in "abc"] == [False, True, True]


def test_children_of_an_agent_that_is_dropped_wait_for_it() -> None:
    branches = grown(("a", None), ("b", "a"), ("c", "b"))
    branches.drop(branches.agents["b"])
    without = branches.deepest
    branches.hang(Twig("b"), None)
    assert (without, depths(branches)) == (3, {"a": 1, "b": 1, "c": 2})


def test_agent_that_is_hung_elsewhere_takes_along_what_hangs_below_it() -> None:
    branches = grown(("a", None), ("b", "a"), ("c", None), ("d", "c"))
    branches.hang(branches.agents["c"], "b")
    assert depths(branches) == {"a": 1, "b": 2, "c": 3, "d": 4}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef") | st.none(), st.booleans())))
def test_whatever_is_claimed_nobody_is_above_himself(moves: list[tuple[str, str | None, bool]]) -> None:
    branches: Branches[Twig] = Branches()
    for id, parent, drops in moves:
        if not drops:
            branches.hang(branches.agents.get(id) or Twig(id), parent)
        elif id in branches.agents:
            branches.drop(branches.agents[id])
        for twig in branches.agents.values():
            line = [twig.id]
            while (above := branches.agents.get(branches.agents[line[-1]].parent or "")) is not None:
                assert above.id not in line
                assert branches.agents[line[-1]].depth == above.depth + 1
                line.append(above.id)
        assert branches.deepest == max(depths(branches).values(), default=0)


def test_long_line_that_comes_from_its_end_is_put_right_in_time() -> None:
    count = 1_000
    branches = grown(*((f"a{number}", f"a{number - 1}") for number in range(count, 1, -1)), ("a1", None))
    assert branches.deepest == count and branches.agents["a1"].depth == 1
