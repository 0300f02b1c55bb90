"""Call sites, their literal options, widths, and places without a bound, each with its line."""

from pathlib import Path

import pytest

from runtime.check import check
from runtime.check.fanout import UNBOUNDED_MAX, Unbounded
from runtime.check.meta import PlannedPhase
from runtime.check.sites import SITES_MAX, UNKNOWN, CallSite, Width

META = "export const meta = {name: 'n', description: 'd'}\n"
WORKFLOWS = Path(__file__).parents[2] / "golden" / "workflows"


def sites(body: str) -> tuple[CallSite, ...]:
    return check(META + body).sites


def test_literal_options_of_a_call_are_read() -> None:
    body = (
        "agent('a', {label: 'one', phase: \"Find\", model: 'opus', agentType: `Explore`,"
        " isolation: 'worktree', effort: 'low', schema: S})"
    )
    assert sites(body) == (CallSite(2, "one", "Find", "opus", "Explore", "worktree", "low", schema=True),)
    assert sites("agent('a')") == (CallSite(2),) and check(META + body).efforts == ("low",)


@pytest.mark.parametrize(
    ("options", "site"),
    [
        ("{label: `find ${file}:${line}`}", CallSite(2, label=f"find {UNKNOWN}:{UNKNOWN}")),
        ("{model: pick()}", CallSite(2, model=UNKNOWN)),
        ("{model}", CallSite(2, model=UNKNOWN)),
        ("{model: a ? 'opus' : 'haiku'}", CallSite(2, model=UNKNOWN)),
        ("{[key]: 'x'}", CallSite(2, more=True)),
        ("{['model']: 'opus'}", CallSite(2, model="opus")),
        ("{'model': 'opus'}", CallSite(2, model="opus")),
        ("{...rest, model: 'opus'}", CallSite(2, model="opus", more=True)),
        ("{model: 'opus', get label() { return 'x' }}", CallSite(2, model="opus", more=True)),
        ("options()", CallSite(2, more=True)),
        ("({ model: 'opus' })", CallSite(2, model="opus")),
        ("...both", CallSite(2, more=True)),
        ("{unheard: 1, model: 'opus' /* the large one */}", CallSite(2, model="opus")),
    ],
)
def test_what_cannot_be_known_is_never_taken_for_absent(options: str, site: CallSite) -> None:
    assert sites(f"agent('a', {options})") == (site,)


def test_options_are_followed_through_a_name_that_always_means_the_same() -> None:
    body = (
        "const base = {model: 'opus', isolation: 'worktree'}\nagent('a', {...base, model: 'haiku'})\nagent('b', base)"
    )
    assert sites(body) == (
        CallSite(3, model="haiku", isolation="worktree", more=True),
        CallSite(4, model="opus", isolation="worktree", more=True),
    )


def test_object_that_spreads_itself_is_left() -> None:
    assert sites("const a = {...a}; agent('x', a)") == (CallSite(2, more=True),)


def test_only_the_first_call_sites_are_described_and_all_are_counted() -> None:
    profile = check(META + "agent('x');" * (SITES_MAX + 5))
    assert len(profile.sites) == SITES_MAX and profile.agent_calls == SITES_MAX + 5


def test_widths_are_told_where_they_can_be_seen() -> None:
    body = (
        "const q = [1, 2, 3]\nawait parallel(q.map((i) => () => agent(i)))\nawait pipeline(args.files, (f) => agent(f))"
    )
    assert check(META + body).widths == (Width(3, "parallel", 3), Width(4, "pipeline", None))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("while (more) await agent(1)", "while"),
        ("do { await agent(1) } while (more)", "do"),
        ("for (;;) await agent(1)", "for"),
        ("for (const x of args) await agent(x)", "for-of"),
        ("for (const x in args) await agent(x)", "for-in"),
        ("args.files.map((x) => agent(x))", "map"),
        ("args.files.forEach((x) => agent(x))", "forEach"),
        ("Array.from(args.files, (x) => agent(x))", "Array.from"),
        ("await pipeline(args.files, (x) => agent(x))", "pipeline"),
        ("const r = () => { agent(1); r() }; r()", "recursion"),
        ("eval('agent(1)')", "unseen"),
        ("agent.call(null, 1)", "unseen"),
        ("setTimeout(() => agent(1))", "unseen"),
    ],
)
def test_place_without_a_bound_is_named_with_its_line(body: str, what: str) -> None:
    profile = check(META + "log('first')\n" + body)
    assert profile.fan_out is None and Unbounded(3, what) in profile.unbounded


@pytest.mark.parametrize(
    "body", ["while (more) log(1)", "for (const x of [1, 2]) agent(x)", ";[1, 2].map((x) => agent(x))"]
)
def test_place_that_starts_no_agent_or_shows_its_bound_is_not_named(body: str) -> None:
    assert check(META + body).unbounded == ()


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.js")), ids=lambda path: path.stem)
def test_script_without_a_bound_always_says_where(path: Path) -> None:
    profile = check(path.read_text())
    assert (profile.fan_out is None) == bool(profile.unbounded)
    assert len(profile.sites) == profile.agent_calls


def test_as_many_places_are_named_as_the_limit() -> None:
    profile = check(META + "while (more) await agent(1)\n" * (UNBOUNDED_MAX + 3))
    assert len(profile.unbounded) == UNBOUNDED_MAX and profile.unbounded[0] == Unbounded(2, "while")


def test_phases_tell_detail_and_model_and_their_models_are_listed() -> None:
    script = (
        "export const meta = {name: 'n', description: 'd', phases: "
        "[{title: 'Find', detail: 'one each', model: 'haiku'}, {title: 'Fix', detail: null}]}\n"
        "agent('x', {model: 'opus'})"
    )
    profile = check(script)
    assert profile.planned == (PlannedPhase("Find", "one each", "haiku"), PlannedPhase("Fix"))
    assert profile.phases == ("Find", "Fix") and profile.models == ("opus", "haiku")
