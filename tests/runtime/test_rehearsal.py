"""Rehearsals: the dry run of real scripts in real sandboxes, and the plan of a resume.

Plans are also made with scripts in Python, which run what `tests.support.workflows` has played before.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.check import prepare
from runtime.core.limits import Limits
from runtime.core.model import Owner, json_of
from runtime.core.plans.forecast import Rehearsal
from runtime.core.program import Delivery, Drained, Program
from runtime.core.recorded import Recorded
from runtime.core.replay import NothingToResume, Replay
from runtime.ports import Found, SandboxFailed, ScriptMissing
from runtime.rehearsal import Stage, dry_run, plan_resume
from runtime.sandbox.host import ChildSandboxes
from tests.support.workflows import OWNER, USAGE, Body, Play, Script, play

WORKFLOWS = Path(__file__).parents[1] / "golden" / "workflows"
META = "export const meta = {name: 'n', description: 'd'}\n"
LINES = {"args": ["a.ts", "b.ts"]}
PORT = {"args": {"files": ["a", "b"], "from": "js", "to": "py"}}


def program_of(source: str, *, args: Any = None, **more: Any) -> Program:
    prepared = prepare(source)
    assert prepared.error is None
    return Program(
        source=prepared.source,
        body=prepared.body,
        meta=msgspec.Raw(msgspec.json.encode(prepared.meta)),
        args=None if args is None else msgspec.Raw(msgspec.json.encode(args)),
        **more,
    )


class Library:
    """The golden scripts by the beginning of their files' names, and by the names in them."""

    async def find(self, owner: Owner, workspace: str | None, *, name: str | None, path: str | None) -> Found:
        for file in sorted(WORKFLOWS.glob("*.js")):
            source = file.read_text()
            if f"name: '{name}'" in source:
                return Found(source, str(file))
        raise ScriptMissing(f"there is no workflow {name!r}")


class Rehearsed:
    """A sandbox that runs a script in Python."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.closed = False
        self.told: list[Delivery] = []

    async def start(self, program: Program) -> Drained:
        return self.script.start()

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Drained]:
        drains: list[Drained] = []
        for delivery in deliveries:
            self.told.append(delivery)
            drains.append(self.script.deliver(delivery))
            if drains[-1].end is not None:
                break
        return drains

    async def close(self) -> None:
        self.closed = True


class Theatre:
    """Where `Rehearsed` sandboxes come from."""

    def __init__(self, body: Body) -> None:
        self.opened = Rehearsed(Script(body))

    async def open(self, limits: Limits) -> Rehearsed:
        return self.opened


def stage(sandboxes: Any, **more: Any) -> Stage:
    return Stage(sandboxes=sandboxes, scripts=Library(), owner=OWNER, **more)


async def rehearse(source: str, *, args: Any = None, earlier: Recorded | None = None, **more: Any) -> Rehearsal:
    budget = more.pop("budget_total", None)
    program = program_of(source, args=args, budget_total=budget)
    return await dry_run(program, stage(ChildSandboxes(), **more), earlier=earlier)


def by_phase(rehearsal: Rehearsal) -> dict[str | None, int]:
    return {phase.title: phase.calls for phase in rehearsal.phases}


# Dry runs (W144).


@pytest.mark.parametrize(
    ("file", "given", "phases"),
    [
        ("01_missing_auth_audit", {}, {"Inventory": 1, "Audit": 1, "Refute": 1}),
        ("03_dead_code_candidates", {}, {"Search": 3, "Challenge": 1}),
        ("05_security_review_scoping", {}, {"Map": 1, "Rank": 3}),
        ("06_port_two_reviewers", PORT, {"Port": 2, "Review": 6, "Repair": 2}),
        ("07_fix_until_check_passes", {"args": {"command": "make"}}, {"Check": 1}),
        ("09_schema_fanout_merge", LINES, {"Review": 6, "Merge": 1}),
        ("10_nested_workflow", {}, {"Inventory": 1, "Audit": 1, "Refute": 1, "Decide": 1}),
        ("11_budget_aware_loop", {}, {"Hunt": 1, "Report": 1}),
        ("11_budget_aware_loop", {"budget_total": 200_000}, {"Hunt": 38, "Report": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_w144_real_script_is_rehearsed_to_its_end(file: str, given: Any, phases: dict[str, int]) -> None:
    rehearsal = await rehearse((WORKFLOWS / f"{file}.js").read_text(), **given)
    assert (rehearsal.ended, rehearsal.terminated, rehearsal.message) == ("returned", True, "")
    assert (by_phase(rehearsal), rehearsal.calls) == (phases, sum(phases.values()))


async def test_w144_fan_out_is_told_by_place() -> None:
    source = META + "for (const n of [2, 3]) await parallel(Array.from({length: n}, (_, i) => () => agent('a' + i)))"
    rehearsal = await rehearse(source + "\nawait Promise.all([agent('x'), agent('y')])")
    assert [(each.path, each.items) for each in rehearsal.fan_outs] == [("/1", 3), ("/0", 2), ("/b*", 2)]


async def test_w144_models_are_told_by_phase() -> None:
    source = META + "phase('P'); await agent('a', {model: 'haiku'}); await agent('b'); await agent('c')"
    rehearsal = await rehearse(source)
    assert [(use.phase, use.model, use.calls) for use in rehearsal.models] == [("P", "haiku", 1), ("P", None, 2)]


async def test_w144_endless_script_is_cut_off_at_the_cap() -> None:
    rehearsal = await rehearse(META + "while (true) await agent('again')", calls_max=50)
    assert (rehearsal.ended, rehearsal.terminated, rehearsal.calls) == ("calls", False, 50)


async def test_w144_script_that_takes_all_calls_and_ends_is_not_cut_off() -> None:
    rehearsal = await rehearse(META + "for (let i = 0; i < 50; i++) await agent('x' + i)", calls_max=50)
    assert (rehearsal.ended, rehearsal.calls) == ("returned", 50)


@pytest.mark.parametrize(
    ("body", "ended", "message"),
    [
        pytest.param("throw new Error('no')", "threw", "no", id="throw"),
        pytest.param("await new Promise(() => {})", "stalled", "nothing can settle", id="stall"),
        pytest.param("for (;;) {}", "sandbox", "script_timeout", id="spin"),
    ],
)
async def test_w144_script_that_does_not_return_says_why(body: str, ended: str, message: str) -> None:
    rehearsal = await rehearse(META + body, limits=Limits(drain_cpu_seconds=0.2))
    assert rehearsal.ended == ended
    assert message in rehearsal.message


async def test_w144_timers_fire_in_their_order_after_the_agents() -> None:
    body = """
    const seen = []
    const late = setTimeout(() => seen.push('never'), 50)
    const all = [new Promise((go) => setTimeout(go, 20)).then(() => { seen.push('b') }),
                 new Promise((go) => setTimeout(go, 10)).then(() => { seen.push('a') })]
    seen.push(await agent('x'))
    clearTimeout(late)
    await Promise.all(all)
    throw new Error(seen.join(' '))
    """
    assert (await rehearse(META + body)).message == "Error: sample a b (line 10:26)"


async def test_w114_script_past_its_budget_is_refused_as_it_would_be() -> None:
    body = "let n = 0\ntry { for (;;) { await agent('x' + n); n++ } } catch (e) { throw new Error(e.code + ' ' + n) }"
    rehearsal = await rehearse(META + body, budget_total=10_000)
    assert "budget_exhausted 3" in rehearsal.message
    assert rehearsal.warnings[0].startswith("budget_exhausted")


async def test_w63_schema_that_no_agent_could_meet_is_told_before_the_run() -> None:
    rehearsal = await rehearse(META + "await agent('x', {schema: {type: 'array'}})")
    assert (rehearsal.ended, rehearsal.calls) == ("threw", 0)
    assert "schema" in rehearsal.warnings[0]


async def test_w144_script_that_asks_for_much_is_rehearsed_to_its_end() -> None:
    body = """
    const much = () => { for (let i = 0; i < 6000; i++) phase(i % 2 ? 'a' : 'b') }
    return (await parallel(Array.from({ length: 20 }, (_, i) => () => agent(`do ${i}`).then(much)))).length
    """
    rehearsal = await rehearse(META + body)
    assert (rehearsal.ended, rehearsal.calls) == ("returned", 20)


async def test_w110_missing_child_rejects_in_the_rehearsal_too() -> None:
    body = "try { await workflow('no-such') } catch (e) { throw new Error('caught ' + e.message) }"
    rehearsal = await rehearse(META + body)
    assert "caught" in rehearsal.message and "no-such" in rehearsal.message


async def test_w144_answers_of_an_earlier_run_stand_for_stubs() -> None:
    async def before(script: Script) -> None:
        await script.agent("a")
        await script.agent("old prompt", label="b")

    earlier = play(before).recorded
    body = "throw new Error([await agent('a'), await agent('new prompt', {label: 'b'}), await agent('c')].join())"
    rehearsal = await rehearse(META + body, earlier=earlier)
    assert rehearsal.message == "Error: re a,re old prompt,sample (line 2:95)"


class Mute:
    """Never answers."""

    def __init__(self) -> None:
        self.closed = False

    async def open(self, limits: Limits) -> "Mute":
        return self

    async def start(self, program: Program) -> Drained:
        await asyncio.Event().wait()
        raise AssertionError("it woke up")

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Drained]:
        raise AssertionError("nothing was asked")

    async def close(self) -> None:
        self.closed = True


async def test_w144_script_that_takes_too_long_is_cut_off_and_its_sandbox_closed() -> None:
    mute = Mute()
    rehearsal = await dry_run(program_of(META + "return 1"), stage(mute, seconds_max=0.05))
    assert (rehearsal.ended, rehearsal.terminated, mute.closed) == ("seconds", False, True)


class Full:
    """Has no room."""

    async def open(self, limits: Limits) -> Any:
        raise SandboxFailed("script_killed", "no process can be started")


async def test_w144_sandbox_that_cannot_be_had_is_told() -> None:
    rehearsal = await dry_run(program_of(META + "return 1"), stage(Full()))
    assert (rehearsal.ended, rehearsal.message) == ("sandbox", "script_killed: no process can be started")


# Plans (W162).


def chain(*prompts: str) -> Body:
    async def body(script: Script) -> Any:
        for prompt in prompts:
            await script.agent(prompt, phase="P")

    return body


async def plan(before: Play, body: Body, **more: Any) -> Any:
    program = Program(
        source=more.pop("source", "script"), body="", meta=msgspec.Raw(b"{}"), args=more.pop("args", None)
    )
    given = {"mode": "lineage", **more}
    return await plan_resume(program, stage(Theatre(body)), before.recorded, **given)


async def test_w162_plan_tells_hits_misses_reasons_and_cost() -> None:
    before = play(chain("a", "b", "c"))
    told = await plan(before, chain("a", "B", "c"), source="script edited")
    assert (told.hits, told.misses, told.reasons) == (1, 2, {"changed_prompt": 1, "after_miss": 1})
    assert [(miss.index, miss.label, miss.phase) for miss in told.missed] == [(1, "B", "P"), (2, "c", "P")]
    assert (told.saved, told.estimate) == (USAGE, USAGE + USAGE)
    assert told.script_changed and "+script edited" in told.diff


async def test_w163_plan_of_an_unchanged_run_pays_nothing() -> None:
    before = play(chain("a", "b", "c"))
    told = await plan(before, chain("a", "b", "c"))
    assert (told.hits, told.misses, told.estimate.cost_nanousd, told.diff) == (3, 0, 0, "")
    assert told.rehearsal.ended == "returned"


async def test_w162_plan_counts_what_the_resume_then_does() -> None:
    async def body(script: Script) -> Any:
        async def one(_: Any, item: str, index: int) -> Any:
            await script.agent(f"1 {item}")
            return await script.agent(f"2 {item}")

        await script.pipeline(list("abcdef"), one)
        return await script.agent("end")

    before = play(body, lambda prompt: None if prompt in ("1 b", "2 e") else f"re {prompt}")
    told = await plan(before, body)
    after = play(body, replay=Replay(before.recorded, "lineage"))
    assert (told.hits, told.misses) == (len(after.hits), len(after.misses))
    assert told.hits == 9 and told.missed[-1].label == "end"


async def test_w36_changed_arguments_are_told_apart_from_an_edit() -> None:
    told = await plan(play(chain("a")), chain("b"), args=msgspec.Raw(b'{"x": 1}'))
    assert (told.args_changed, told.script_changed, told.reasons) == (True, False, {"args_changed": 1})


async def test_w36_the_same_arguments_in_another_spelling_are_no_change() -> None:
    recorded = play(chain("a")).recorded
    recorded.spec = msgspec.structs.replace(recorded.spec, args=json_of(msgspec.Raw(b'{"a":1,"b":2}')))
    program = Program(source="script", body="", meta=msgspec.Raw(b"{}"), args=msgspec.Raw(b'{ "b": 2, "a": 1 }'))
    told = await plan_resume(program, stage(Theatre(chain("a"))), recorded, mode="prefix")
    assert (told.args_changed, told.hits) == (False, 1)


async def test_w154_plan_of_a_run_without_results_is_refused() -> None:
    with pytest.raises(NothingToResume, match="nothing to resume"):
        await plan(play(chain("a"), lambda prompt: None), chain("a"))


async def test_w39_hits_are_delivered_in_their_old_order() -> None:
    async def body(script: Script) -> Any:
        return await script.parallel([lambda prompt=prompt: script.agent(prompt) for prompt in "abc"])

    before = play(body, pick=lambda waiting: waiting - 1)
    theatre = Theatre(body)
    program = Program(source="script", body="", meta=msgspec.Raw(b"{}"))
    await plan_resume(program, stage(theatre), before.recorded, mode="lineage")
    assert [delivery.id for delivery in theatre.opened.told] == [2, 1, 0]
    assert [delivery.spent for delivery in theatre.opened.told] == [10, 20, 30]


async def test_w159_plan_of_mode_none_pays_for_everything() -> None:
    told = await plan(play(chain("a")), chain("a", "b"), mode="none")
    assert (told.hits, told.reasons, told.estimate) == (0, {"never": 2}, USAGE + USAGE)


class Shelf:
    """One workflow, whatever is asked for."""

    def __init__(self, source: str) -> None:
        self.source = source

    async def find(self, owner: Owner, workspace: str | None, *, name: str | None, path: str | None) -> Found:
        return Found(self.source, None)


async def child(script: Script) -> Any:
    return await script.agent("in child")


async def parent(script: Script) -> Any:
    await script.workflow("child")
    return await script.agent("last")


@pytest.mark.parametrize(
    ("edit", "hits", "reasons"),
    [
        pytest.param("", 2, {}, id="unchanged"),
        pytest.param(" // edited", 0, {"child_changed": 1, "after_miss": 1}, id="changed"),
    ],
)
async def test_w111_plan_sees_whether_a_child_has_changed(edit: str, hits: int, reasons: dict[str, int]) -> None:
    source = META + "return await agent('in child')"
    before = play(parent, nested={"child": (child, prepare(source).sha256)})
    theatre = Theatre(parent)
    theatre.opened.script.bodies = {source + edit: child}
    program = Program(source="script", body="", meta=msgspec.Raw(b"{}"))
    setting = Stage(sandboxes=theatre, scripts=Shelf(source + edit), owner=OWNER)
    told = await plan_resume(program, setting, before.recorded, mode="lineage")
    assert (told.hits, told.reasons) == (hits, reasons)
