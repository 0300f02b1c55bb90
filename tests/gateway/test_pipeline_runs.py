"""Workflow scripts written for Claude Code run unchanged through the whole gateway, and give what they should.

Agents answer as `say` of each test lets them: texts, outputs for schemas, calls of tools in a real repository.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import GOLDEN, OUTPUT, Asked, Said, golden, reply, running
from tests.support.repositories import git, make_repository
from tests.support.upstream import error_answer, text_block, tool_block

FAULT = error_answer(400, "invalid_request_error", "this prompt is refused")


def by_prompt(answers: dict[str, Said | Callable[[Asked], Said]]) -> Callable[[Asked], Said]:
    """The answer of the first pattern that the prompt has in it."""

    def say(asked: Asked) -> Said:
        for pattern, said in answers.items():
            if re.search(pattern, asked.prompt):
                return said(asked) if callable(said) else said
        raise AssertionError(asked.prompt)

    return say


def finding(route: str, line: int) -> dict[str, Any]:
    return {"route": route, "line": line, "why": "no guard"}


AUDIT = by_prompt(
    {
        "^List every file": {"files": ["src/a.ts", "src/b.ts"]},
        "^Read src/a.ts": {"file": "src/a.ts", "findings": [finding("/x", 3), finding("/y", 9)]},
        "^Read src/b.ts": {"file": "src/b.ts", "findings": []},
        "line 3,": {"refuted": False, "evidence": "nothing guards it"},
        "line 9,": {"refuted": True, "evidence": "the router does"},
        "^Decide go or no-go": {"go": True, "because": "it holds"},
    }
)
AUDITED = {
    "filesPlanned": 2,
    "filesAudited": 2,
    "confirmed": [
        {"file": "src/a.ts", **finding("/x", 3), "verdict": "confirmed", "evidence": "nothing guards it"},
    ],
    "unverified": [],
    "refuted": 1,
}
CANDIDATES = by_prompt(
    {
        "static references": {"candidates": [{"symbol": "old", "file": "a"}, {"symbol": "slow", "file": "b"}]},
        "entry points": {"candidates": [{"symbol": "old", "file": "a"}, {"symbol": "main", "file": "c"}]},
        "git history": {"candidates": [{"symbol": "slow", "file": "b"}]},
        "prove that old": {"alive": True, "how": "by reflection"},
        "prove that slow": FAULT,
    }
)
SCOPE = by_prompt(
    {
        "^Map the parts": {
            "areas": [
                {"name": "jobs", "entryPoints": ["/q"], "trust": "internal"},
                {"name": "login", "entryPoints": ["/in", "/out"], "trust": "public"},
            ]
        },
        "^Score jobs": {"score": 2, "reason": "far away"},
        "^Score login": {"score": 9, "reason": "in front"},
    }
)


def checking() -> Callable[[Asked], Said]:
    """A check that fails twice and then passes, with one fix that gives nothing."""
    rounds = iter([["a", "b"], ["b"], []])

    def check(_: Asked) -> Said:
        failures = next(rounds)
        return {"exitCode": 1 if failures else 0, "failures": failures}

    return by_prompt({"^Run exactly": check, "^Fix the first.*\na": "fixed", "^Fix the first": " "})


ISSUE = {"file": "b.py", "line": 4, "title": "Race", "severity": "low"}
WORSE = {"file": "b.py", "line": 4, "title": "race", "severity": "high"}
OTHER = {"file": "a.py", "line": 1, "title": "Slow", "severity": "high"}
REVIEW = by_prompt(
    {
        "^Review a.py for correctness": {"issues": []},
        "^Review a.py for security": {"problems": "none of these fit"},
        "^Review a.py for performance": {"issues": [OTHER]},
        "^Review b.py for correctness": {"issues": [ISSUE]},
        "^Review b.py": {"issues": [WORSE]},
        "^Write a summary": "Two findings.",
    }
)


def hunt(asked: Asked) -> Said:
    """One more bug, for 20,000 tokens."""
    known = len(json.loads(asked.prompt.partition("list: ")[2] or "[]"))
    return reply([tool_block(OUTPUT, {"bugs": [f"bug {known}"]})], output_tokens=20_000)


HUNT = by_prompt({"^Find": hunt, "^Report": "the report"})


PLAIN: dict[str, tuple[Callable[[], Callable[[Asked], Said]], dict[str, Any], Any, int]] = {
    "01_missing_auth_audit": (lambda: AUDIT, {}, AUDITED, 5),
    "03_dead_code_candidates": (
        lambda: CANDIDATES,
        {},
        {
            "viewsAnswered": 3,
            "of": 3,
            "checked": [
                {"symbol": "old", "file": "a", "votes": 2, "status": "alive"},
                {"symbol": "slow", "file": "b", "votes": 2, "status": "unchecked"},
            ],
        },
        5,
    ),
    "05_security_review_scoping": (
        lambda: SCOPE,
        {},
        [
            {"area": "login", "trust": "public", "votes": 3, "score": 9},
            {"area": "jobs", "trust": "internal", "votes": 3, "score": 2},
        ],
        7,
    ),
    "07_fix_until_check_passes": (
        checking,
        {"args": {"command": "make test"}},
        {"status": "green", "rounds": 3, "history": [2, 1, 0]},
        5,
    ),
    "09_schema_fanout_merge": (
        lambda: REVIEW,
        {"args": ["a.py", "b.py"]},
        {"reviewed": 5, "planned": 6, "merged": [OTHER, WORSE], "summary": "Two findings."},
        7,
    ),
    "11_budget_aware_loop": (
        lambda: HUNT,
        {"budgetTokens": 100_000},
        {"rounds": 3, "bugs": ["bug 0", "bug 1", "bug 2"], "report": "the report"},
        4,
    ),
}
"""By script: what its agents say, what it is started with, what it returns, how many agents it takes."""


@pytest.mark.parametrize("name", PLAIN)
async def test_w15_script_of_claude_code_runs_unchanged(tmp_path: Path, name: str) -> None:
    say, fields, expected, agents = PLAIN[name]
    async with running(tmp_path, say()) as gateway:
        run = await gateway.start(golden(name), **fields)
        record = await gateway.ended(run)
        assert (record["state"], record["outcome"]["planned"]) == ("completed", agents)
        assert await gateway.result(run) == expected


@pytest.mark.parametrize("name", ["01_missing_auth_audit", "05_security_review_scoping", "11_budget_aware_loop"])
async def test_w163_resume_of_what_was_done_asks_no_model(tmp_path: Path, name: str) -> None:
    say, fields, expected, agents = PLAIN[name]
    async with running(tmp_path, say()) as gateway:
        first = await gateway.start(golden(name), **fields)
        await gateway.ended(first)
        asked = len(gateway.asked)
        plan = await gateway.call("GET", f"runs/{first}/resume-plan")
        again = (await gateway.call("POST", "runs", {"resumeFromRunId": first}))["runId"]
        record = await gateway.ended(again)
        assert (len(gateway.asked), record["outcome"]["cached"], plan["hits"]) == (asked, agents, agents)
        assert await gateway.result(again) == expected
        assert record["usage"]["new"]["total_tokens"] == 0 < record["usage"]["replayed"]["total_tokens"]


async def test_w81_call_that_throws_or_is_null_is_counted_and_named(tmp_path: Path) -> None:
    say, fields, *_ = PLAIN["09_schema_fanout_merge"]
    async with running(tmp_path, say()) as gateway:
        run = await gateway.start(golden("09_schema_fanout_merge"), **fields)
        record = await gateway.ended(run)
        thrown = await gateway.call("GET", f"runs/{run}/agents/1")
    assert record["degraded"] and record["outcome"]["threw"] == 1
    assert thrown["error"]["code"] == "schema_retries_exhausted"
    assert thrown["error"]["fields"]["validationErrors"] and "none of these fit" in thrown["error"]["fields"]["rawText"]


async def test_w116_budget_without_a_total_is_one_pass(tmp_path: Path) -> None:
    async with running(tmp_path, HUNT) as gateway:
        found = await gateway.outcome(golden("11_budget_aware_loop"))
    assert found == {"rounds": 0, "bugs": ["bug 0"], "report": "the report"}


async def test_w114_budget_that_is_used_up_refuses_the_next_call(tmp_path: Path) -> None:
    say = by_prompt(
        {"^Find": reply([tool_block(OUTPUT, {"bugs": ["one"]})], output_tokens=101_000), "^Report": "never"}
    )
    async with running(tmp_path, say) as gateway:
        found = await gateway.outcome(golden("11_budget_aware_loop"), budgetTokens=100_000)
        assert (found["rounds"], found["report"]) == (1, None)
        assert "token budget of 100000 is used up" in found["stoppedBy"] and len(gateway.asked) == 1


async def test_w52_disallowed_tools_are_not_offered(tmp_path: Path) -> None:
    project = make_repository(tmp_path / "project")
    async with running(tmp_path, SCOPE, runs={"workspaces": [str(tmp_path)]}) as gateway:
        await gateway.outcome(golden("05_security_review_scoping"), workspace=str(project))
    for asked in gateway.asked:
        assert {"Read", "Glob", "Grep", "StructuredOutput"} <= asked.tools
        assert asked.tools.isdisjoint({"Edit", "Write", "Bash"})
    assert gateway.asked[-1].body["output_config"] == {"effort": "low"}


class Porters:
    """Agents that port files in worktrees; the reviewers of one port want it repaired."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def __call__(self, asked: Asked) -> Said:
        if asked.prompt.startswith(("Port", "Repair")):
            return self._port(asked)
        repaired = "Repaired" in asked.prompt
        accepts = "inner" not in asked.prompt or repaired
        return {"accept": accepts, "problems": [] if accepts else ["a case is missing"]}

    def _port(self, asked: Asked) -> Said:
        name = "sub/inner" if "sub/inner" in asked.prompt else "file"
        path = str(asked.folder / name)
        if asked.turn == 1:
            self.folders.append(asked.folder)
            return [tool_block("Read", {"file_path": path}, "toolu_read")]
        if asked.turn == 2:
            edit = {"file_path": path, "old_string": "one", "new_string": "two"}
            return [text_block("It is short."), tool_block("Edit", edit, "toolu_edit")]
        return "Repaired" if asked.prompt.startswith("Repair") else f"diff of {name}"


async def test_w59_port_in_worktrees_leaves_the_checkout_alone(tmp_path: Path) -> None:
    project, say = make_repository(tmp_path / "project"), Porters()
    head = git(project, "rev-parse", "HEAD")
    async with running(tmp_path, say, runs={"workspaces": [str(tmp_path)]}) as gateway:
        args = {"files": ["file", "sub/inner"], "from": "old", "to": "new"}
        run = await gateway.start(golden("06_port_two_reviewers"), args=args, workspace=str(project))
        await gateway.ended(run)
        assert await gateway.result(run) == [
            {"file": "file", "status": "accepted", "rounds": 0},
            {"file": "sub/inner", "status": "accepted", "rounds": 1, "problems": ["a case is missing"] * 2},
        ]
        agents = [await gateway.call("GET", f"runs/{run}/agents/{row['index']}") for row in await gateway.agents(run)]
    trees = [agent["worktree"] for agent in agents if agent["worktree"] is not None]
    assert len({tree["branch"] for tree in trees}) == len(set(say.folders)) == 3
    assert all(tree["changed"] and tree["base"] == head and Path(tree["path"]).is_dir() for tree in trees)
    assert {(Path(tree["path"]) / "file").read_text() for tree in trees} == {"one\n", "two\n"}
    assert (git(project, "status", "--porcelain"), git(project, "symbolic-ref", "HEAD")) == ("", "refs/heads/main")
    assert (project / "file").read_text() == "one\n" and git(project, "rev-parse", "HEAD") == head


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a saved workflow."""
    made = make_repository(tmp_path / "project")
    folder = made / ".claude" / "workflows"
    folder.mkdir(parents=True)
    (folder / "audit.js").write_text(golden("01_missing_auth_audit"))
    return made


async def test_w107_saved_workflow_is_run_inline_and_a_missing_one_is_caught(tmp_path: Path, project: Path) -> None:
    async with running(tmp_path, AUDIT, runs={"workspaces": [str(tmp_path)]}) as gateway:
        run = await gateway.start(golden("10_nested_workflow"), workspace=str(project))
        record = await gateway.ended(run)
        verdict = {"go": True, "because": "it holds"}
        assert await gateway.result(run) == {"verdict": verdict, "missing": "rejected", "auditStatus": "ok"}
        decided = next(each.prompt for each in gateway.asked if each.prompt.startswith("Decide"))
    assert json.loads(decided.splitlines()[1].removeprefix("Audit: ")) == AUDITED
    assert decided.endswith("Dependencies: null") and record["outcome"]["planned"] == 6
    phases = {(phase["workflow"], phase["title"]) for phase in record["phases"]}
    assert {("missing-auth-audit", "Refute"), (None, "Decide")} <= phases


async def test_w06_saved_workflow_is_read_afresh_at_each_launch(tmp_path: Path, project: Path) -> None:
    saved = project / ".claude" / "workflows" / "audit.js"
    async with running(tmp_path, AUDIT, runs={"workspaces": [str(tmp_path)]}) as gateway:
        fields = {"name": "missing-auth-audit", "workspace": str(project)}
        first = await gateway.call("POST", "runs", fields)
        saved.write_text(golden("01_missing_auth_audit").replace("status: 'no_routes'", "status: 'none'"))
        second = await gateway.call("POST", "runs", fields)
        for started in (first, second):
            await gateway.ended(started["runId"])
    assert first["scriptPath"] == second["scriptPath"] == str(saved)
    assert first["scriptSha256"] != second["scriptSha256"]


async def test_w144_every_golden_script_passes_the_check_and_a_dry_run(tmp_path: Path, project: Path) -> None:
    given: dict[str, Any] = {
        "06_port_two_reviewers": {"files": ["a"], "from": "x", "to": "y"},
        "07_fix_until_check_passes": {"command": "make"},
        "09_schema_fanout_merge": ["a"],
    }
    async with running(tmp_path, lambda _: "never asked", runs={"workspaces": [str(tmp_path)]}) as gateway:
        for path in sorted(GOLDEN.glob("*.js")):
            body = {"script": path.read_text(), "args": given.get(path.stem, {}), "workspace": str(project)}
            card = await gateway.call("POST", "runs/dry-run", body)
            assert card["dry_run"]["ended"] == "returned", (path.stem, card["dry_run"])
        assert gateway.asked == [] and (await gateway.call("GET", "runs"))["runs"] == []
