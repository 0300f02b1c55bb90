"""The page of the runtime's requirements says what the tests say: what is done is named by a test of its number."""

from tests.meta.requirements import LATER, NUMBERS, Row, numbered_tests, numbers_of, proposed, rows


def test_every_requirement_stands_on_the_page_once_and_in_order() -> None:
    assert [row.number for row in rows()] == list(NUMBERS)


def test_what_is_not_done_says_why() -> None:
    assert [row.number for row in rows() if row.state != "done" and not row.note and row.number not in LATER] == []


def test_only_saved_workflows_and_evidence_come_later() -> None:
    assert {row.number for row in rows() if row.state == "later"} - set(LATER) <= {178}


def test_every_requirement_that_is_done_names_a_test_that_carries_its_number() -> None:
    unproven = [row for row in rows() if row.state in ("done", "partly") and not proves(row)]
    assert [suggestion(row) for row in unproven] == []


def test_every_test_that_the_page_names_exists() -> None:
    known = {test for tests in numbered_tests().values() for test in tests}
    lost = [row for row in rows() if not known.issuperset(row.tests)]
    assert [suggestion(row) for row in lost] == []


def test_every_number_that_a_test_carries_stands_on_the_page() -> None:
    page = {row.number for row in rows()}
    assert {number: tests for number, tests in numbered_tests().items() if number not in page} == {}


def test_every_number_is_written_alike() -> None:
    names = {test.partition("::")[2] for tests in numbered_tests().values() for test in tests}
    assert [name for name in names if any(f"_w{number:02}_" not in name for number in numbers_of(name))] == []


def test_numbers_of_a_test_are_those_of_its_name() -> None:
    assert numbers_of("test_w80_w128_stopped_script_never_goes_on") == [80, 128]
    assert numbers_of("test_w118_a_cap_of_w3c_cents_pauses") == [118]
    assert numbers_of("test_what_w118_means") == []


def proves(row: Row) -> bool:
    """It names a test, and each one carries its number."""
    return bool(row.tests) and all(row.number in numbers_of(test.partition("::")[2]) for test in row.tests)


def suggestion(row: Row) -> str:
    """What could stand in its last column."""
    found = proposed(numbered_tests().get(row.number, []))
    return f"W{row.number:02} could name {found or 'no test: none carries its number'}"
