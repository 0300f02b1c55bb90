"""How the demo ends: the table of the scenes, the promises that were broken, the same as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.scenes import Scene, within_cap
from gateway.commands.output import plain, table
from gateway.core.pricing import format_usd


def build_table(scenes: Sequence[Scene]) -> Table:
    """One row per scene: asked, allowed, denied, why, held, spent, cap, and whether the cap was kept."""
    rows = table(
        "What the gateway recorded",
        *(
            "scene",
            ">asked",
            ">allowed",
            ">denied",
            "why",
            ">held at once",
            ">spent",
            ">cap",
            "never more than the cap",
        ),
    )
    for scene in scenes:
        row = scene.figures
        cells = (
            f"{scene.number}. {scene.title}",
            f"{row.requests} requests, {row.tool_calls} calls",
            row.allowed,
            row.denied,
            ", ".join(f"{cause} ({times})" for cause, times in row.why.items()) or "-",
            format_usd(row.held_nanousd),
            format_usd(row.spent_nanousd),
            format_usd(row.cap_nanousd),
            "yes" if within_cap(row).kept else "NO",
        )
        rows.add_row(*(plain(cell) for cell in cells))
    return rows


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
