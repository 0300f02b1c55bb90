"""Progress groups: one per title, in order, as many as there may be."""

from runtime.core.journal import NestedLine
from runtime.core.limits import PHASES_MAX
from runtime.core.model import Scope
from runtime.core.views.phases import MORE_PHASES, NO_PHASE, PhaseBook
from tests.runtime.core.play import NOW, spec


def test_w85_declared_phases_come_first_and_are_the_same_groups() -> None:
    book = PhaseBook(spec(phases=("Find", "Fix")))
    assert book.find(0, "Fix") is book.phases[1]
    assert [phase.title for phase in (book.find(0, "New"), *book.phases)] == ["New", "Find", "Fix", "New"]


def test_w87_call_without_a_phase_has_a_group_of_its_own() -> None:
    assert PhaseBook(spec()).find(0, None).title == NO_PHASE


def test_w88_titles_beyond_the_limit_share_one_group() -> None:
    book = PhaseBook(spec())
    found = [book.find(0, f"p{number}") for number in range(PHASES_MAX + 10)]
    assert len({phase.id for phase in found}) == PHASES_MAX + 1
    assert {phase.title for phase in found[PHASES_MAX:]} == {MORE_PHASES}
    assert book.find(0, "p3") is found[3]


def test_w108_same_title_in_a_nested_workflow_is_another_group() -> None:
    book = PhaseBook(spec())
    book.name_workflow(NestedLine(at_ms=NOW, id=4, scope=Scope(""), seq=0, spent=0, wanted="child", name="child"))
    inner, outer = book.find(5, "Find"), book.find(0, "Find")
    assert (inner.workflow, outer.workflow) == ("child", None) and inner.id != outer.id


def test_w179_ids_are_the_same_wherever_the_run_is_told() -> None:
    first, second = PhaseBook(spec()), PhaseBook(spec())
    second.find(0, "Other")
    assert first.find(0, "Find").id == second.find(0, "Find").id
    assert first.find(0, "Find").id.startswith("wrph_")


def test_w85_titles_that_differ_only_beyond_what_is_shown_stay_apart() -> None:
    book = PhaseBook(spec())
    first, second = book.find(0, "x" * 100 + "a"), book.find(0, "x" * 100 + "b")
    assert first.title == second.title and first.id != second.id
