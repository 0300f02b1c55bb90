"""`ringfence upstreams`: how the upstreams of a running gateway fare, shown to people. Changes nothing."""

import msgspec

from gateway.commands.client import GatewayClient
from gateway.commands.output import moment, plain, print_json, print_rich, table


class UpstreamRow(msgspec.Struct):
    """One upstream. `retry_at_ms` None: its breaker is closed. Times are Unix milliseconds."""

    id: str
    backend: str
    state: str
    failures: int
    opened_at_ms: int | None
    retry_at_ms: int | None
    cooling: dict[str, int]
    in_use: int
    waiting: int
    requests_total: int
    failures_total: int
    last_error: str | None
    last_error_at_ms: int | None


class Upstreams(msgspec.Struct):
    """Answer of `/upstreams`."""

    upstreams: list[UpstreamRow]


def show_upstreams(client: GatewayClient, *, as_json: bool) -> None:
    """Every upstream with its breaker, what cools, how full it is and what went wrong last."""
    answer = client.read("/upstreams", Upstreams)
    if as_json:
        print_json(answer)
        return
    counts = (">in a row", ">in use", ">waiting", ">requests", ">failed")
    rows = table("Upstreams", "id", "backend", "breaker", "tried again", *counts, "cooling", "last error")
    for row in answer.upstreams:
        amounts = (row.failures, row.in_use, row.waiting, row.requests_total, row.failures_total)
        texts = (row.id, row.backend, row.state, moment(row.retry_at_ms), *amounts, _cooling(row), _last_error(row))
        rows.add_row(*(plain(text) for text in texts))
    print_rich(rows)


def _cooling(row: UpstreamRow) -> str:
    return ", ".join(f"{model} until {moment(until_ms)}" for model, until_ms in row.cooling.items()) or "-"


def _last_error(row: UpstreamRow) -> str:
    return "-" if row.last_error is None else f"{row.last_error}, {moment(row.last_error_at_ms)}"
