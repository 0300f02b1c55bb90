"""Measures direct, a bare pass-through and the gateway with everything on, in one go on loopback.

    scripts/bench [--quick] [--json] [--cells small,agent,stream,tools,cross,bedrock,memory,paced]
    scripts/bench --ledger [--quick] [--json]
    scripts/bench --decisions [--quick] [--json]
    scripts/bench --journal [--quick] [--json]

Latencies include the load generator's own work, and all processes share the machine's cores: compare the columns, and
above all CPU per request. Needs Linux (/proc). Judges nothing; README.md beside it says what the figures should be.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.decisions import measure_decisions, print_decisions
from tests.bench.journal import measure_journal, print_journal
from tests.bench.ledger import measure_ledger, print_ledger
from tests.bench.measure import BODY_CELLS, Bench, Figures, measure_cells, measure_memory, measure_paced
from tests.bench.runs import measure_runs, print_runs
from tests.bench.systems import running_systems
from tests.bench.table import print_cells, print_memory, print_paced

CELLS = (*BODY_CELLS, "memory", "paced")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the gateway on loopback.")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--cells", default=",".join(CELLS), help=f"comma-separated, of: {', '.join(CELLS)}")
    parser.add_argument("--ledger", action="store_true", help="only the stores: pairs of reserve and settle a second")
    parser.add_argument("--decisions", action="store_true", help="only policy: decisions, memory, records, new agents")
    parser.add_argument("--journal", action="store_true", help="only the journals of runs: settled calls a second")
    parser.add_argument("--runs", action="store_true", help="only the workflow runtime: agents that answer at once")
    arguments = parser.parse_args()
    arguments.cells = tuple(arguments.cells.split(","))
    unknown = set(arguments.cells) - set(CELLS)
    if unknown:
        parser.error(f"unknown cells: {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
    return arguments


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.ledger:
        return {"quick": arguments.quick, "ledger": await measure_ledger(quick=arguments.quick)}
    if arguments.decisions:
        return {"quick": arguments.quick, **await measure_decisions(quick=arguments.quick)}
    if arguments.journal:
        return {"quick": arguments.quick, "journal": await measure_journal(quick=arguments.quick)}
    if arguments.runs:
        return {"quick": arguments.quick, "runs": await measure_runs(quick=arguments.quick)}
    cells: list[Figures] = []
    figures: dict[str, Any] = {"quick": arguments.quick}
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
        async with running_systems(Path(folder)) as systems:
            bench = Bench(systems, quick=arguments.quick)
            async for cell in measure_cells(bench, [name for name in arguments.cells if name in BODY_CELLS]):
                cells.append(cell)
            figures["cells"] = cells
            if "paced" in arguments.cells:
                figures["paced"] = await measure_paced(bench)
            if "memory" in arguments.cells:
                figures["memory"] = await measure_memory(bench)
    return figures


def main() -> int:
    if not Path("/proc/self/stat").exists():
        print("error: scripts/bench reads CPU and memory from /proc, which this system does not have", file=sys.stderr)
        return 1
    arguments = parse_arguments()
    figures = asyncio.run(run(arguments))
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return 0
    if "ledger" in figures:
        print_ledger(figures["ledger"])
        return 0
    if "decisions" in figures:
        print_decisions(figures)
        return 0
    if "journal" in figures:
        print_journal(figures["journal"])
        return 0
    if "runs" in figures:
        print_runs(figures["runs"])
        return 0
    print_cells(figures["cells"])
    if "paced" in figures:
        print_paced(figures["paced"])
    if "memory" in figures:
        print_memory(figures["memory"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
