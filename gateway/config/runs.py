"""What the runs section may say: where agents may work, and how large, how dear and how long a run may be."""

from pathlib import Path
from typing import get_args

from gateway.config.model import Confirm, PipelineNull, RunApproval, Runs, SizeGuideline
from gateway.config.values import Table, absolute_path, read_usd
from gateway.config.webhook import read_webhook

CONCURRENCY_MAX = 256
AGENTS_MAX = 10_000
OPEN_MAX = 1_000
TOKENS_MAX = 1_000_000_000_000
KEEP_DAYS_MAX = 3_650
STAGGER_MS_MAX = 60_000
HEAP_MIB_MAX = 4_096
STACK_KIB_MAX = 4_096


def read_runs(table: Table | None) -> Runs:
    """`{enabled, workspaces, model, concurrency, agents_max, ...}`; every key may be left out."""
    default = Runs()
    if table is None:
        return default
    cap = table.find("max_cost_usd")
    runs = Runs(
        enabled=table.flag("enabled", default.enabled),
        workspaces=_read_workspaces(table),
        model=table.text("model") or default.model,
        workflow_model=table.text("workflow_model"),
        concurrency=table.integer("concurrency", default.concurrency, low=1, high=CONCURRENCY_MAX),
        agents_max=table.integer("agents_max", default.agents_max, low=1, high=AGENTS_MAX),
        open_per_session=table.integer("open_per_session", default.open_per_session, low=1, high=OPEN_MAX),
        lifetime_seconds=table.seconds("lifetime_seconds", default.lifetime_seconds),
        max_cost_nanousd=None if cap is None else read_usd(cap),
        confirm_agents=table.integer("confirm_agents", default.confirm_agents, low=1, high=AGENTS_MAX),
        confirm_tokens=table.integer("confirm_tokens", default.confirm_tokens, low=1, high=TOKENS_MAX),
        size_guideline=_read_guideline(table),
        confirm=table.choice("confirm", get_args(Confirm), default.confirm),
        approval=table.choice("approval", get_args(RunApproval), default.approval),
        auto_resume=table.flag("auto_resume", default.auto_resume),
        bash=table.flag("bash", default.bash),
        strict_options=table.flag("strict_options", default.strict_options),
        pipeline_null=table.choice("pipeline_null", get_args(PipelineNull), default.pipeline_null),
        stagger_ms=table.integer("stagger_ms", default.stagger_ms, low=0, high=STAGGER_MS_MAX),
        admission_reserve=table.flag("admission_reserve", default.admission_reserve),
        script_drain_seconds=table.seconds("script_drain_seconds", default.script_drain_seconds),
        script_cpu_seconds=table.seconds("script_cpu_seconds", default.script_cpu_seconds),
        script_heap_mib=table.integer("script_heap_mib", default.script_heap_mib, low=8, high=HEAP_MIB_MAX),
        script_stack_kib=table.integer("script_stack_kib", default.script_stack_kib, low=64, high=STACK_KIB_MAX),
        keep_days=table.integer("keep_days", default.keep_days, low=1, high=KEEP_DAYS_MAX),
        webhook=read_webhook(table.table("webhook")),
    )
    table.done()
    return runs


def _read_guideline(table: Table) -> SizeGuideline | None:
    """Only what was chosen counts: left out, `confirm_agents` says what is large."""
    if table.find("size_guideline") is None:
        return None
    return table.choice("size_guideline", get_args(SizeGuideline), "medium")


def _read_workspaces(table: Table) -> tuple[Path, ...]:
    """Folders that are there; agents write in them, so none is the whole machine."""
    found: list[Path] = []
    for name in table.texts("workspaces"):
        place = table.place_of_text("workspaces", name)
        path = absolute_path(place, name)
        if path is None:
            continue
        if not Path(name).is_absolute():
            place.problem(f"{place.name}: {name} is not absolute", f"write {path}, if that is what is meant")
        elif not path.is_dir():
            place.problem(f"{place.name}: {path} is not a folder", "create it, or name another")
        elif path.resolve() == Path(path.anchor):
            place.problem(f"{place.name}: {path} is the whole machine", "name the folder that projects are in")
        else:
            found.append(path.resolve())
    return tuple(found)
