"""Keys of the runs section, its defaults and its faults."""

from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, parse_config
from gateway.config.document import Source, parse_document
from gateway.config.model import Runs, Secret, WebhookConfig
from gateway.config.runs import read_runs
from gateway.config.values import Table


def read(text: str, folder: Path = Path("/")) -> tuple[Runs, list[str]]:
    """The section and its problems."""
    source = Source(folder / "ringfence.yaml", {"HOOK": "a-long-random-secret"})
    entry = parse_document(text, source)
    assert entry is not None
    runs = read_runs(Table(entry))
    return runs, [f"{each.message} ({each.suggestion})" for each in source.problems]


def test_section_that_is_left_out_gives_the_defaults_of_the_runtime() -> None:
    runs = read_runs(None)
    assert runs == Runs() == read("{}")[0]
    assert (runs.enabled, runs.workspaces, runs.concurrency, runs.agents_max) == (True, (), 16, 1_000)
    assert (runs.open_per_session, runs.lifetime_seconds, runs.max_cost_nanousd) == (10, 86_400, None)
    assert (runs.strict_options, runs.pipeline_null, runs.bash, runs.keep_days) == (True, "stop", True, 30)


def test_w127_nothing_goes_on_by_itself_and_w145_large_runs_are_warned_of_unless_it_is_said() -> None:
    runs = Runs()
    assert (runs.auto_resume, runs.confirm, runs.confirm_agents, runs.confirm_tokens) == (False, "warn", 25, 1_500_000)
    said = read("{auto_resume: true, confirm: pause, confirm_agents: 5, confirm_tokens: 1000}")[0]
    assert (said.auto_resume, said.confirm, said.confirm_agents, said.confirm_tokens) == (True, "pause", 5, 1_000)


@pytest.mark.parametrize("guideline", ["small", "medium", "large", "unrestricted"])
def test_w191_size_guideline_is_one_of_four_or_not_chosen(guideline: str) -> None:
    assert read(f"{{size_guideline: {guideline}}}")[0].size_guideline == guideline
    assert read("{}")[0].size_guideline is None
    assert "size_guideline is 'huge'" in read("{size_guideline: huge}")[1][0]


@pytest.mark.parametrize("approval", ["policy", "ask", "never"])
def test_w141_who_approves_runs_can_be_said(approval: str) -> None:
    assert Runs().approval == "policy" and read(f"{{approval: {approval}}}")[0].approval == approval


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = (
        f"{{enabled: false, workspaces: ['{tmp_path}'], model: m, workflow_model: forced, concurrency: 256,"
        " agents_max: 10, open_per_session: 2, lifetime_seconds: 60, max_cost_usd: 2.5, bash: false,"
        " strict_options: false, pipeline_null: pass, keep_days: 7, stagger_ms: 0, admission_reserve: true,"
        " script_drain_seconds: 1, script_cpu_seconds: 30, script_heap_mib: 32, script_stack_kib: 256,"
        " webhook: {url: 'https://h.example/x', secret: '${HOOK}'}}"
    )
    webhook = WebhookConfig("https://h.example/x", Secret("a-long-random-secret"))
    expected = Runs(
        enabled=False,
        workspaces=(tmp_path.resolve(),),
        model="m",
        workflow_model="forced",
        concurrency=256,
        agents_max=10,
        open_per_session=2,
        lifetime_seconds=60.0,
        max_cost_nanousd=2_500_000_000,
        bash=False,
        strict_options=False,
        pipeline_null="pass",
        keep_days=7,
        stagger_ms=0,
        admission_reserve=True,
        script_drain_seconds=1.0,
        script_cpu_seconds=30.0,
        script_heap_mib=32,
        script_stack_kib=256,
        webhook=webhook,
    )
    assert read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{concurrency: 0}", "runs.concurrency is '0'"),
        ("{concurrency: 257}", "from 1 to 256"),
        ("{agents_max: 0}", "agents_max is '0'"),
        ("{lifetime_seconds: 86401}", "at most 86400"),
        ("{max_cost_usd: 0}", "above 0"),
        ("{confirm: ask}", "one of: warn, pause"),
        ("{approval: always}", "policy, ask, never"),
        ("{pipeline_null: keep}", "one of: stop, pass"),
        ("{stagger_ms: 60001}", "from 0 to 60000"),
        ("{script_heap_mib: 1}", "from 8 to 4096"),
        ("{enable: true}", "did you mean enabled?"),
        ("{workspaces: [projects]}", "projects is not absolute"),
        ("{workspaces: [/no/such/folder]}", "is not a folder"),
        ("{workspaces: [/]}", "is the whole machine"),
        ("{workspaces: ['/..']}", "is the whole machine"),
        ("{webhook: {url: 'https://h.example'}}", "has no secret"),
    ],
    ids=lambda value: value[:30] if value.startswith("{") else "",
)
def test_fault_is_named_with_its_remedy(text: str, said: str) -> None:
    (problem,) = read_section(text)
    assert said in problem


def read_section(text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        parse_config(f"{{upstreams: [{{id: s, backend: simulated}}], runs: {text}}}", Path("/ringfence.yaml"), {})
    return [f"{each.message} ({each.suggestion})" for each in raised.value.problems]


def test_w09_runs_can_be_switched_off() -> None:
    config = parse_config("{upstreams: [{id: s, backend: simulated}], runs: {enabled: false}}", Path("/r.yaml"), {})
    assert config.runs == Runs(enabled=False)


def test_link_to_a_workspace_is_the_folder_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "root").symlink_to("/")
    assert read(f"{{workspaces: ['{tmp_path}/link']}}")[0].workspaces == ((tmp_path / "real").resolve(),)
    assert "is the whole machine" in read(f"{{workspaces: ['{tmp_path}/root']}}")[1][0]
