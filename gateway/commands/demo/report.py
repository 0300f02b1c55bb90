"""How the demo ends: the table of the scenes, the promises that were broken, the same as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.scenes import Scene, within_cap
from gateway.commands.output import plain
from gateway.core.money.pricing import format_usd

_SHOWN_NANOUSD = 100_000


def build_table(scenes: Sequence[Scene]) -> Table:
    """One row per scene. Asked are model requests and tool calls together, so that it is allowed plus denied."""
    rows = Table(title="What the gateway recorded", title_justify="left", box=None, header_style="bold", padding=(0, 1))
    rows.add_column("scene", overflow="fold")
    for number in ("asked", "allowed", "denied"):
        rows.add_column(number, justify="right", no_wrap=True)
    rows.add_column("why", overflow="fold")
    for amount in ("held", "spent", "cap"):
        rows.add_column(amount, justify="right", no_wrap=True)
    rows.add_column("more than the cap")
    for scene in scenes:
        rows.add_row(*(plain(cell) for cell in _cells(scene)))
    rows.caption = "asked: requests and tool calls; held: most at one moment, by the audit trail; spent: by the ledger"
    rows.caption_justify = "left"
    return rows


def _cells(scene: Scene) -> tuple[object, ...]:
    row = scene.figures
    why = ", ".join(cause if times == 1 else f"{times} {cause}" for cause, times in row.why.items())
    amounts = [_rounded_usd(amount) for amount in (row.held_nanousd, row.spent_nanousd, row.cap_nanousd)]
    counts = (row.asked, row.allowed, row.denied)
    return (f"{scene.number}. {scene.title}", *counts, why or "-", *amounts, "never" if within_cap(row).kept else "YES")


def _rounded_usd(nanousd: int) -> str:
    """Up to a hundredth of a cent, and never down: spend must not look smaller than it is."""
    return format_usd(-(-nanousd // _SHOWN_NANOUSD) * _SHOWN_NANOUSD)


def broken_promises(scenes: Sequence[Scene]) -> list[str]:
    """Every promise that did not hold, with its scene."""
    return [
        f"scene {scene.number}: {check.promise}: {check.found}"
        for scene in scenes
        for check in scene.checks
        if not check.kept
    ]


def tell_ending(narrator: Narrator, scenes: Sequence[Scene]) -> None:
    """The table and the last word."""
    narrator.show("", build_table(scenes), "")
    broken = broken_promises(scenes)
    for promise in broken:
        narrator.tell("BROKEN", promise, "bold red")
    kept = sum(check.kept for scene in scenes for check in scene.checks)
    if not broken:
        narrator.tell(
            "kept",
            f"all {kept} promises, as the audit trail, the ledger and the fuses of the gateway tell",
            "bold green",
        )


def build_json(scenes: Sequence[Scene]) -> Mapping[str, Any]:
    """The same for programs; money in nano-dollars."""
    return {
        "ok": not broken_promises(scenes),
        "broken": broken_promises(scenes),
        "scenes": [asdict(scene) for scene in scenes],
    }
