"""Sums, who is at work, how fast things come, what was touched."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.agents.meters import FILES_MAX, HOSTS_MAX, PACE_MAX, Crew, Pace, Reach, Used
from gateway.core.decisions.decision import PathUse, ToolFacts

WINDOW_MS = 1000


def test_meters_add_what_others_counted() -> None:
    meters = Used(requests=1, cost_nanousd=5, stream_ms=700).meters(Used(requests=2, stream_ms=400), 9, 3)
    assert (meters["requests"], meters["cost"], meters["stream_seconds"]) == (3, 5, 1)
    assert (meters["seconds"], meters["depth"], meters["denials"]) == (9, 3, 0)


def test_sum_that_is_added_and_taken_back_is_what_it_was() -> None:
    used = Used(1, 2, 3, 4, 5, 6, 7)
    used.add(Used(7, 6, 5, 4, 3, 2, 1))
    grown = used.amounts
    used.add(Used(7, 6, 5, 4, 3, 2, 1), -1)
    assert (grown, used.amounts) == ((8,) * 7, (1, 2, 3, 4, 5, 6, 7))


def test_member_is_at_work_while_a_request_runs_and_while_it_owes_a_result() -> None:
    crew: Crew[str] = Crew()
    crew.begin("a")
    in_flight = crew.count(10**9)
    crew.end("a", 2000, owes=True)
    assert (in_flight, crew.count(3000), crew.count(2000 + 300_000)) == (1, 1, 0)


def test_member_that_ended_its_turn_is_not_at_work() -> None:
    crew: Crew[str] = Crew()
    crew.begin("a")
    crew.end("a", 1, owes=False)
    assert (crew.count(2), list(crew.members(2))) == (0, [])


def test_news_from_elsewhere_do_not_end_what_runs_here() -> None:
    crew: Crew[str] = Crew()
    crew.begin("a")
    crew.hear("a", 5, active=False)
    crew.hear("b", 5, active=True)
    assert sorted(crew.members(6)) == ["a", "b"]


def test_pace_counts_what_came_within_its_window() -> None:
    pace = Pace(WINDOW_MS)
    for at in (0, 500, 900):
        pace.note(at)
    assert [pace.count(at) for at in (999, 1000, 1500, 1900)] == [3, 2, 1, 0]


@given(st.lists(st.integers(0, 3000)), st.integers(3000, 4000))
def test_pace_does_not_depend_on_the_order_in_which_it_is_told(times: list[int], now: int) -> None:
    pace = Pace(WINDOW_MS)
    for at in times:
        pace.note(at)
    assert pace.count(now) == sum(now - at < WINDOW_MS for at in times)


def test_pace_forgets_what_did_not_come_and_is_bounded() -> None:
    pace = Pace(WINDOW_MS)
    for _ in range(PACE_MAX + 10):
        pace.note(5)
    full = pace.count(5)
    pace.take_back(5)
    pace.take_back(6)
    assert (full, pace.count(5)) == (PACE_MAX, PACE_MAX - 1)


def paths(count: int) -> tuple[PathUse, ...]:
    """So many different files, written."""
    return tuple(PathUse(f"/w/{number}", "write", True) for number in range(count))


def test_reach_counts_what_is_named_once() -> None:
    reach = Reach()
    facts = ToolFacts(paths=(PathUse("/w/a", "read", True), PathUse("/w/b", "write", True)), hosts=("example.org",))
    for tool_class in ("exec", "exec", "read"):
        reach.touch(facts, tool_class)
    assert reach.blast() == {"tool_classes": 2, "files": 2, "written_files": 1, "hosts": 1}


def test_reach_is_bounded() -> None:
    reach = Reach()
    reach.touch(ToolFacts(paths=paths(FILES_MAX + 5), hosts=tuple(map(str, range(HOSTS_MAX + 5)))), "write")
    assert reach.blast() == {"tool_classes": 1, "files": FILES_MAX, "written_files": FILES_MAX, "hosts": HOSTS_MAX}
