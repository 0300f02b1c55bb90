"""Who answers in a rehearsal, and the books of a plan."""

from typing import Any

import msgspec

from runtime.core.model import CallOptions, Scope
from runtime.core.plans.casting import Stubs, Understudies
from runtime.core.plans.forecast import MISSED_MAX
from runtime.core.plans.preview import ASSUMED_TOKENS
from runtime.core.program import AgentOp
from runtime.core.replay import Replay
from tests.support.workflows import USAGE, Script, play

ROOT = Scope("")


def asked(prompt: str, **options: Any) -> AgentOp:
    return AgentOp(id=0, scope=ROOT, prompt=prompt, options=CallOptions(**options))


async def one(script: Script) -> None:
    await script.agent("a", label="audit")


def plain(value: msgspec.Raw) -> Any:
    return msgspec.json.decode(value)


def test_w144_stub_answers_by_schema_or_with_a_text() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    stubs = Stubs(None)
    assert plain(stubs.answer(asked("a"), ROOT, None).value) == "sample"
    assert plain(stubs.answer(asked("a", schema=schema), ROOT, None).value) == {"ok": False}


def test_w144_stub_answers_as_an_earlier_run_had_it() -> None:
    stubs = Stubs(play(one).recorded)
    assert plain(stubs.answer(asked("a"), ROOT, None).value) == "re a"
    assert plain(stubs.answer(asked("edited", label="audit"), ROOT, None).value) == "re a"


def test_w144_earlier_answer_of_another_form_is_not_used() -> None:
    stubs = Stubs(play(one).recorded)
    cue = stubs.answer(asked("edited", label="audit", schema={"type": "object"}), ROOT, None)
    assert (plain(cue.value), cue.output_tokens) == ({}, ASSUMED_TOKENS.output)


def test_w162_understudy_gives_what_is_taken_over_in_its_place() -> None:
    recorded = play(one).recorded
    cast = Understudies(recorded, Replay(recorded, "lineage"))
    cue = cast.answer(asked("a"), ROOT, None)
    assert (plain(cue.value), cue.seq, cue.output_tokens) == ("re a", 0, USAGE.tokens.output)
    assert (cast.hits, cast.saved, cast.missed) == (1, USAGE, [])


def test_w162_understudy_says_again_what_would_be_asked_anew() -> None:
    recorded = play(one).recorded
    cast = Understudies(recorded, Replay(recorded, "lineage"))
    cast.refuse(ROOT)
    cast.next_drain()
    cue = cast.answer(asked("a", cache="never"), ROOT, None)
    assert (plain(cue.value), cue.seq) == ("sample", None)
    assert [(miss.index, miss.reason) for miss in cast.missed] == [(1, "never")]


def test_w162_named_misses_are_bounded_and_counted_ones_are_not() -> None:
    recorded = play(one).recorded
    cast = Understudies(recorded, Replay(recorded, "none"))
    for _ in range(MISSED_MAX + 5):
        cast.answer(asked("x"), ROOT, None)
    assert (len(cast.missed), cast.reasons.total()) == (MISSED_MAX, MISSED_MAX + 5)
