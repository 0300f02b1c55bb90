"""What a run will have used in the end, by the means of its phases."""

from tests.runtime.core.story import Story, usage


def projected(story: Story) -> int:
    return story.record()["projection"]["tokens"]


def test_w193_waiting_calls_count_the_mean_of_their_phase() -> None:
    story = Story().runs()
    for phase in ("Find", "Find", "Find", "Fix", "Fix"):
        story.issues(phase=phase)
    story.starts(0).gives(0, used=usage(10)).starts(1).gives(1, used=usage(30)).starts(3).gives(3, used=usage(100))
    assert projected(story) == 140 + 20 + 100


def test_w193_phase_without_a_finished_call_takes_the_mean_of_all() -> None:
    story = Story().runs().issues(phase="Find").issues(phase="Fix").starts(0).gives(0, used=usage(50))
    assert projected(story) == 100


def test_w193_running_call_counts_what_is_left_of_its_mean() -> None:
    story = Story().runs().issues().issues().starts(0).gives(0, used=usage(50)).starts(1)
    view = story.view()
    view.progressed(view.agents(0)[1]["index"], usage(20))
    assert view.projected_tokens() == 50 + 20 + 30
    view.progressed(view.agents(0)[1]["index"], usage(100))
    assert view.projected_tokens() == 170


def test_w193_nothing_is_guessed_before_any_call_has_finished() -> None:
    assert projected(Story().runs().issues().issues().starts(0)) == 0


def test_w193_replayed_calls_lend_their_mean_and_cost_nothing() -> None:
    story = Story().runs().issues().issues().gives_cached(0, usage(40))
    assert projected(story) == 40
