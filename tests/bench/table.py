"""The figures as text tables."""

from collections.abc import Sequence

from tests.bench.measure import Figures

COLUMNS = ("cell", "at once", "system", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "CPU / pass-through")


def print_cells(cells: Sequence[Figures]) -> None:
    """One row per cell, concurrency and system."""
    print(row(COLUMNS))
    for cell in cells:
        floor = cell["systems"]["pass-through"]["cpu_ms"]
        for name, figures in cell["systems"].items():
            ratio = f"{figures['cpu_ms'] / floor:.2f}" if floor else "-"
            numbers = (f"{figures['rps']:.0f}", f"{figures['p50_ms']:.2f}", f"{figures['p99_ms']:.2f}")
            print(row((cell["cell"], str(cell["concurrency"]), name, *numbers, f"{figures['cpu_ms']:.3f}", ratio)))


def print_paced(paced: Figures) -> None:
    print("\npaced stream, time to first byte, p50 ms (added to direct)")
    direct = paced["direct"]["first_byte_p50_ms"]
    for name, figures in paced.items():
        first = figures["first_byte_p50_ms"]
        print(f"  {name:<14}{first:8.2f}  (+{first - direct:.2f})")


def print_memory(memory: Figures) -> None:
    print("\nresident memory, MiB")
    for name, figures in memory.items():
        before, after = figures["before_kib"] / 1024, figures["after_kib"] / 1024
        print(f"  {name:<14}{before:8.1f} -> {after:.1f} over {figures['requests']} requests ({after - before:+.1f})")


def row(texts: Sequence[str]) -> str:
    widths = (8, 9, 15, 10, 9, 9, 12, 0)
    return "".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()
