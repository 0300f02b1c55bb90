"""How far a resumed run has come: the place of the next call in a branch, and in the list of all calls."""

import pytest

from runtime.core.model import Scope
from runtime.core.walks import Branches, OneList
from tests.support.workflows import Script, play

ROOT, FIRST, SECOND = Scope(""), Scope("/0.0"), Scope("/0.1")


async def body(script: Script) -> None:
    async def one(_: object, item: str, index: int) -> object:
        await script.agent(f"{item}1")
        return await script.agent(f"{item}2")

    await script.pipeline(["x", "y"], one)
    await script.agent("end")


def reached(walk: Branches | OneList, *scopes: Scope) -> list[tuple[str | None, str | None]]:
    """Prompt of the old call in each place, and why it counts no more; each in a drain of its own."""
    found: list[tuple[str | None, str | None]] = []
    for scope in scopes:
        walk.next_drain()
        past, reason = walk.reach(scope)
        found.append((None if past is None else past.issued.prompt, reason))
    return found


def test_w157_each_branch_has_its_own_list() -> None:
    walk = Branches(play(body).recorded)
    told = reached(walk, SECOND, FIRST, SECOND, FIRST, ROOT)
    assert told == [("y1", None), ("x1", None), ("y2", None), ("x2", None), ("end", None)]


def test_w157_place_beyond_the_end_of_a_branch_is_empty() -> None:
    walk = Branches(play(body).recorded)
    assert reached(walk, FIRST, FIRST, FIRST)[-1] == (None, None)


def test_w157_spoiled_branch_is_live_with_all_above_it_and_none_beside_it() -> None:
    walk = Branches(play(body).recorded)
    reached(walk, FIRST, SECOND)
    walk.spoil(FIRST)
    told = reached(walk, FIRST, SECOND, ROOT)
    assert [reason for _, reason in told] == ["after_miss", None, "after_miss"]


def test_w157_call_whose_group_lost_one_is_live() -> None:
    walk = Branches(play(body).recorded)
    assert reached(walk, FIRST, FIRST, SECOND, ROOT)[-1] == ("end", "after_miss")


def test_w156_one_list_goes_by_the_order_of_starts() -> None:
    walk = OneList(play(body).recorded)
    assert [prompt for prompt, _ in reached(walk, *[ROOT] * 6)] == ["x1", "y1", "x2", "y2", "end", None]


@pytest.mark.parametrize("scope", [ROOT, FIRST], ids=["root", "item"])
def test_w156_one_list_breaks_at_once_and_for_good(scope: Scope) -> None:
    walk = OneList(play(body).recorded)
    walk.spoil(scope)
    assert [reason for _, reason in reached(walk, FIRST, ROOT)] == ["after_miss", "after_miss"]
