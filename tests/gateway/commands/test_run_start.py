"""`ringfence runs start` and `dry-run` against a served desk."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.client import GatewayClient
from gateway.commands.output import CommandFailed
from gateway.commands.run_start import Person, Wanted, approve_run, body_of, dry_run, edit, read_args, start_run
from gateway.web.run_desk import RunRefused
from tests.gateway.commands.test_run_card import CARD, typing
from tests.support.runs import ALICE, SCRIPT, SHA256, FakeDesk, served_runs

FREE = {"approval": {"needed": False, "reason": None}}


class Gateway:
    """The served desk, and what was asked of it."""

    def __init__(self, desk: FakeDesk, url: str) -> None:
        self.desk = desk
        self.client = GatewayClient(url, ALICE)

    @property
    def asked(self) -> list[str]:
        return [what for what, _ in self.desk.asked]

    @property
    def last(self) -> Any:
        return self.desk.asked[-1][1]


@pytest.fixture
def gateway() -> Generator[Gateway]:
    desk = FakeDesk(card=CARD | {"consent": CARD["consent"] | {"script_sha256": SHA256}})
    with served_runs(desk) as url:
        yield Gateway(desk, url)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "audit.js"
    file.write_text(SCRIPT)
    return file


def person(*said: str, yes: bool = False, editor: str = "false") -> Person:
    return Person(typing(*said)[0], {"EDITOR": editor}, yes=yes)


NOBODY = Person(None, {})


def test_approved_script_is_started_with_the_hash_that_was_shown(
    gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = start_run(gateway.client, Wanted(file=script), person("a"), as_json=False)
    assert gateway.asked == ["check", "start"] and launch.run_id == "wf_000000"
    assert (gateway.last.script, gateway.last.consent, gateway.last.script_sha256) == (SCRIPT, "always", SHA256)
    shown = capsys.readouterr().out
    assert "unbounded, capped at 1000" in shown and "wf_000000 (audit) was started and is running" in shown


def test_refused_card_starts_nothing_and_exits_with_5(gateway: Gateway, script: Path) -> None:
    with pytest.raises(CommandFailed, match="not started") as failed:
        start_run(gateway.client, Wanted(file=script), person("n"), as_json=False)
    assert failed.value.exit_code == 5 and gateway.asked == ["check"]


def test_nobody_is_asked_where_nobody_has_to_be(
    gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.desk.card |= FREE
    start_run(gateway.client, Wanted(file=script), NOBODY, as_json=False)
    assert gateway.last.consent is None and gateway.last.script_sha256 == SHA256
    assert "capped" not in capsys.readouterr().out


def test_yes_is_consent_without_a_card(gateway: Gateway, script: Path) -> None:
    start_run(gateway.client, Wanted(file=script), Person(None, {}, yes=True), as_json=False)
    assert gateway.asked == ["start"] and gateway.last.consent == "once"


def test_question_without_a_terminal_starts_nothing(gateway: Gateway, script: Path) -> None:
    with pytest.raises(CommandFailed, match="start it with --yes") as failed:
        start_run(gateway.client, Wanted(file=script), NOBODY, as_json=False)
    assert failed.value.exit_code == 5 and gateway.asked == ["check"]


def test_w140_edited_script_is_checked_and_shown_anew(gateway: Gateway, script: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "// edited" >> "$1"\n')
    editor.chmod(0o700)
    start_run(gateway.client, Wanted(file=script), person("e", "o", editor=str(editor)), as_json=False)
    first, second, started = (request.script for _, request in gateway.desk.asked)
    assert gateway.asked == ["check", "check", "start"]
    assert first == SCRIPT and second == started == SCRIPT + "// edited\n"


def test_editor_that_fails_is_told(script: Path) -> None:
    for editor in ("false", "/nowhere/editor", "'"):
        with pytest.raises(CommandFailed, match="set EDITOR"):
            edit(script, {"EDITOR": editor})


def test_every_option_reaches_the_gateway(gateway: Gateway, tmp_path: Path) -> None:
    wanted = Wanted(
        name="audit",
        args='{"deep": true}',
        workspace=Path("repo"),
        session="s9",
        model="haiku",
        max_agents=5,
        max_cost_usd=2.5,
        budget_tokens=1_000,
        resume_from="wf_000009",
        mode="prefix",
    )
    start_run(gateway.client, wanted, person(yes=True), as_json=False)
    asked = gateway.last
    assert (asked.name, bytes(asked.args), asked.session, asked.model) == ("audit", b'{"deep": true}', "s9", "haiku")
    assert asked.workspace == os.path.abspath("repo")
    assert (asked.max_agents, asked.max_cost_usd, asked.budget_tokens) == (5, 2.5, 1_000)
    assert (asked.resume_from_run_id, asked.resume_mode) == ("wf_000009", "prefix")


def test_w04_invalid_script_is_told_by_place_and_exits_with_4(
    gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detail = {"code": "meta_missing", "line": 3, "column": 7}
    gateway.desk.refusal = RunRefused(400, "invalid_script", "3:7 meta_missing: no meta\x1b[2J", detail)
    with pytest.raises(CommandFailed) as failed:
        start_run(gateway.client, Wanted(file=script), person(yes=True), as_json=True)
    assert failed.value.exit_code == 4 and "\x1b" not in failed.value.message
    assert failed.value.message.startswith(f"{script}:3:7 meta_missing: no meta")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["error"]["code"] == "meta_missing" and last["error"]["line"] == 3


@pytest.mark.parametrize(("status", "code"), [(451, 5), (409, 7), (503, 7)])
def test_refusal_has_the_exit_code_of_its_cause(gateway: Gateway, script: Path, status: int, code: int) -> None:
    gateway.desk.refusal = RunRefused(status, "some_error", "no")
    with pytest.raises(CommandFailed, match="no") as failed:
        start_run(gateway.client, Wanted(file=script), person("o"), as_json=False)
    assert failed.value.exit_code == code and not gateway.desk.runs


@pytest.mark.parametrize(
    ("by", "step"), [("person", "ringfence runs approve wf_000000"), ("policy", "ringfence approvals list")]
)
def test_run_that_waits_for_approval_says_how_to_give_it(
    gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str], by: str, step: str
) -> None:
    waits = {"state": "pending_approval", "approval": {"by": by, "reason": "asked"}}
    gateway.desk.launch = {"state": "pending_approval", "approval": "asked", "warning": "large: 30 agents"}
    gateway.desk.started = lambda run: run.record.update(waits)
    start_run(gateway.client, Wanted(file=script), person(yes=True), as_json=False)
    shown = capsys.readouterr().out
    assert f"it waits for a person (asked): {step}\n" in shown and "warning: large: 30 agents" in shown


def test_launch_as_json_is_one_line(gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_run(gateway.client, Wanted(file=script), person(yes=True), as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["runId"] == "wf_000000"


def test_dry_run_shows_the_card_and_starts_nothing(
    gateway: Gateway, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(gateway.client, Wanted(file=script), as_json=False) == 0
    assert "unbounded, capped at 1000" in capsys.readouterr().out
    assert dry_run(gateway.client, Wanted(file=script), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "audit" and gateway.asked == ["check", "check"]


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted(args="1"), Wanted(file=Path("a.js"), name="b")], ids=["nothing", "args", "both"]
)
def test_what_to_start_is_named_once(wanted: Wanted) -> None:
    with pytest.raises(CommandFailed) as failed:
        body_of(wanted)
    assert failed.value.exit_code == 2


def test_args_are_json_or_a_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('["ü", 1]')
    assert read_args(f"@{tmp_path / 'args.json'}") == ["ü", 1]
    assert read_args("null") is None and body_of(Wanted(name="a", args="null")) == {"name": "a", "args": None}
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_args(f"@{tmp_path / 'marked.json'}") == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("src/routes", "line 1, column 1: not 'src/routes'", id="bare"),
        pytest.param('{"a":\n "b" c}', "line 2, column 6: not 'c}'", id="inside"),
        pytest.param("{", "line 1, column 2: it ends too soon", id="end"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param("1" * 5_000, "too many digits", id="digits"),
        pytest.param("@{folder}/none", "none cannot be read: No such file", id="missing"),
        pytest.param("@{folder}/latin.json", "latin.json is no text in UTF-8", id="encoding"),
        pytest.param("@{folder}/bad.json", "bad.json is no JSON (line 1, column 2", id="file"),
    ],
)
def test_args_that_are_no_json_say_where_and_what_to_write(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "latin.json").write_bytes(b'"\xe4"')
    (tmp_path / "bad.json").write_text("{a: 1}")
    with pytest.raises(CommandFailed) as failed:
        read_args(text.replace("{folder}", str(tmp_path)))
    message = str(failed.value)
    assert failed.value.exit_code == 2 and message.startswith("--args") and told in message
    assert ("is no JSON" in message) == ("a text with quotes of its own, '\"src\"'" in message)


def waiting(gateway: Gateway, by: str = "person") -> str:
    return gateway.desk.add("wf_000007", state="pending_approval", approval={"by": by, "reason": "asked"}).id


def test_w140_whoever_approves_a_run_is_shown_its_card_and_bound_to_its_script(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    order = approve_run(gateway.client, waiting(gateway), {"why": "fine"}, person("v", "o"))
    assert order == {"scope": "once", "scriptSha256": SHA256, "why": "fine"}
    shown = capsys.readouterr().out
    assert gateway.asked == ["card wf_000007"] and "unbounded, capped at 1000" in shown and "export const meta" in shown


def test_run_that_is_not_approved_goes_on_waiting(gateway: Gateway) -> None:
    with pytest.raises(CommandFailed, match="still waits; `ringfence runs deny wf_000007`") as failed:
        approve_run(gateway.client, waiting(gateway), {}, person("n"))
    assert failed.value.exit_code == 5 and gateway.desk.runs["wf_000007"].is_open


@pytest.mark.parametrize(
    ("by", "who"),
    [("person", NOBODY), ("person", Person(typing()[0], {}, yes=True)), ("policy", person())],
    ids=["no_terminal", "yes", "policy"],
)
def test_order_goes_as_it_was_given_where_there_is_nobody_to_ask(gateway: Gateway, by: str, who: Person) -> None:
    assert approve_run(gateway.client, waiting(gateway, by), {"scope": "always"}, who) == {"scope": "always"}
    assert gateway.asked == []
