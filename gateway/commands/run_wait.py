"""`ringfence runs start --wait`, and `runs watch` without a terminal: a line per event until the run has ended."""

import asyncio
import sys
from typing import Any

import msgspec

from gateway.commands.client import GatewayClient
from gateway.commands.output import moment, plain, print_json_line, print_rich
from gateway.commands.run_feed import RunFeed
from gateway.commands.run_rows import RunRow
from gateway.commands.run_words import describe_run, event_line, exit_code_of


def wait_for_run(client: GatewayClient, run: str, *, as_json: bool) -> int:
    """Return when the run has ended, with the exit code that tells how; with `as_json` its record is the last line.

    An interrupt ends the waiting and leaves the run alone.
    """
    try:
        return asyncio.run(follow_run(client, run, as_json=as_json))
    except KeyboardInterrupt:
        print(f"ringfence: {goes_on(run)}", file=sys.stderr)
        raise


async def follow_run(client: GatewayClient, run: str, *, as_json: bool) -> int:
    """The same within a loop."""
    async with RunFeed(client, run) as feed:
        async for event in feed.events():
            if event.seq is not None and not as_json:
                print_rich(plain(f"{moment(event.fields.get('at_ms'))}  {event_line(event.type, event.fields)}"))
        record = await feed.record(dict[str, Any])
        ended = msgspec.convert(record, RunRow)
        failed = await feed.failures() if ended.degraded and not as_json else None
    if as_json:
        print_json_line(record)
    else:
        print_rich(*map(plain, describe_run(ended, failed)))
    return exit_code_of(ended)


def goes_on(run: str) -> str:
    """What to tell whoever stops looking at a run."""
    return f"run {run} goes on; look again with `ringfence runs watch {run}`, end it with `ringfence runs stop {run}`"
