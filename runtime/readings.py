"""What people read of runs, whoever drives them: live where this process does, else the journal. Changes nothing."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.contract import RUN_ID
from runtime.core.display import visible
from runtime.core.journal import EndedLine, ErrorLine, IssuedLine, Line, RefusedLine, ResultLine, RunLine
from runtime.core.model import OPEN_STATES, RunId, RunState
from runtime.core.views.events import refused_start
from runtime.core.views.taskstream import task_notification, task_progress, task_started, task_updated
from runtime.core.views.view import View, aged
from runtime.launch import RunError
from runtime.ports import EventRow, RunRow
from runtime.report import NotEnded, build_notification, notification_row, page_values, result_of
from runtime.runner import LEASE_MS, SNAPSHOT_SECONDS, Runner
from runtime.runs import Runs, unknown

POLL_SECONDS = 0.5
"""How often a run that another process drives is looked at for those who follow it."""
EVENTS_READ = 200
SILENT_MS = 5_000
"""A process renews its leases about once a second; not for so long, and it is not there, or stands still."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads: a user their own runs, an operator all (W137)."""

    user: str
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot between numbered events; the newest replaces the older."""

    record: dict[str, Any]


class Readings:
    """Reads. Everything raises `RunError`."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._store = runs.ground.store
        self._clock = runs.ground.clock

    async def row(self, viewer: Viewer, run: str) -> RunRow:
        """The run, if the viewer may know of it."""
        row = await self._store.find(RunId(run)) if RUN_ID.fullmatch(run) else None
        if row is None or not (viewer.operator or row.owner.user == viewer.user):
            raise unknown(run)
        return row

    async def rows(
        self,
        viewer: Viewer,
        *,
        session: str | None,
        states: Sequence[RunState],
        before: str | None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Records, newest first."""
        user = None if viewer.operator else viewer.user
        found = await self._store.rows(
            user=user, session=session, states=states, before=None if before is None else RunId(before), most=most
        )
        return await self._shown(found)

    async def record(self, viewer: Viewer, run: str) -> dict[str, Any]:
        """The run as it is now."""
        (record,) = await self._shown([await self.row(viewer, run)])
        return record

    async def agents(self, viewer: Viewer, run: str, *, after: int, most: int) -> list[dict[str, Any]]:
        """Its agents behind index `after`."""
        view = await self._view(await self.row(viewer, run))
        return view.agents(self._clock.unix_ms(), after=after, most=most)

    async def agent(self, viewer: Viewer, run: str, index: int) -> dict[str, Any]:
        """One of them, with its whole prompt and its value."""
        row = await self.row(viewer, run)
        view = await self._view(row)
        shown = view.agent(index, self._clock.unix_ms())
        if shown is None:
            raise RunError("not_found", f"run {run} has no agent {index}")
        return {**shown, **_value_of(await self.runs.lines(row.id), index)}

    async def result(self, viewer: Viewer, run: str) -> dict[str, Any]:
        """What it returned, or why it failed."""
        row = await self.row(viewer, run)
        lines = await self.runs.lines(row.id)
        last = lines[-1]
        if not isinstance(last, EndedLine):
            raise RunError("conflict", f"run {run} is {row.state.replace('_', ' ')}: it has no result yet")
        return {"id": row.id, "state": last.state, **result_of(last, row.id)}

    async def artefact(self, viewer: Viewer, run: str) -> bytes:
        """JSON of what it returned, however large (W172)."""
        row = await self.row(viewer, run)
        last = (await self.runs.lines(row.id))[-1]
        if not isinstance(last, EndedLine) or not isinstance(last.value, msgspec.Raw):
            raise RunError("conflict", f"run {run} is {row.state.replace('_', ' ')}: it has returned nothing")
        return bytes(last.value)

    def refused_start(self, error_type: str, message: str) -> dict[str, Any]:
        """The only event of a run that never came to be (W04, W11). It has no number: no stream holds it."""
        event = refused_start(error_type, message, self._clock.unix_ms(), epoch=self.runs.me)
        return msgspec.json.decode(event.numbered(0))

    async def notification(self, viewer: Viewer, run: str) -> dict[str, Any]:
        """What the conversation that started it is told at its end (W173)."""
        row = await self.row(viewer, run)
        lines = await self.runs.lines(row.id)
        last = lines[-1]
        if not isinstance(last, EndedLine):
            raise RunError("conflict", f"run {run} is {row.state.replace('_', ' ')}: it is told of when it has ended")
        return notification_row(build_notification(fold_view(lines), last, task_id=row.id))

    async def values(self, viewer: Viewer, run: str, *, after: int, offset: int, label: str | None) -> dict[str, Any]:
        """What its calls gave, page by page, once it has ended (W176)."""
        row = await self.row(viewer, run)
        try:
            page = page_values(await self.runs.lines(row.id), after=after, offset=offset, label=label)
        except NotEnded as error:
            raise RunError("conflict", f"run {run}: {error}", state=row.state) from None
        return {"values": page.rows, "after": page.after, "offset": page.offset}

    async def journal(self, viewer: Viewer, run: str, *, after: int, most: int) -> list[bytes]:
        """Its lines as they are kept."""
        row = await self.row(viewer, run)
        return [text for _, text in await self._store.lines(row.id, after=after, most=most)]

    async def events(
        self, viewer: Viewer, run: str, *, after: int, types: Sequence[str], most: int
    ) -> Sequence[EventRow]:
        """Its numbered events."""
        row = await self.row(viewer, run)
        return await self._store.events(row.id, after=after, types=types, most=most)

    async def follow(self, viewer: Viewer, run: str, *, after: int) -> AsyncGenerator[EventRow | Progress]:
        """Its events from there on, with snapshots in between, until its last one."""
        row = await self.row(viewer, run)
        return self._follow(row.id, after)

    async def follow_task(self, viewer: Viewer, run: str) -> AsyncGenerator[dict[str, Any]]:
        """The same as Claude Code's stream tells of a task (W181): whole snapshots, the newest of which counts."""
        row = await self.row(viewer, run)
        return self._follow_task(row)

    async def _follow_task(self, row: RunRow) -> AsyncGenerator[dict[str, Any]]:
        run, state, shown = row.id, None, None
        while True:
            runner = self.runs.driven.get(run)
            changed = None if runner is None else runner.changed
            view = await self._view(row)
            if state is None:
                yield task_started(view.spec, task_id=run, tool_use_id=None)
            if view.state != state:
                state = view.state
                yield task_updated(view, task_id=run)
            progress = task_progress(view, self._clock.unix_ms(), task_id=run)
            if progress is not None and progress != shown:
                shown = progress
                yield progress
            if view.state not in OPEN_STATES:
                yield task_notification(view, task_id=run, output_file=f"/ringfence/v1/runs/{run}/result")
                return
            row = await self._next_row(row, runner, changed, view.state)

    async def _next_row(
        self, row: RunRow, runner: Runner | None, changed: asyncio.Event | None, state: RunState
    ) -> RunRow:
        """Once something may have happened; of a run that is driven elsewhere once it has."""
        while True:
            await self._wait_for_news(runner, changed, _is_no_longer(state))
            found = await self._store.find(row.id) or row
            if runner is not None or bytes(found.record) != bytes(row.record):
                return found
            runner = self.runs.driven.get(row.id)
            changed = None if runner is None else runner.changed

    async def _follow(self, run: RunId, after: int) -> AsyncGenerator[EventRow | Progress]:
        shown = b""
        while True:
            runner = self.runs.driven.get(run)
            changed = None if runner is None else runner.changed
            found = await self._next_events(runner, run, after)
            for event in found:
                after = event.seq
                yield event
            if found:
                continue
            if runner is not None and not runner.left:
                yield Progress(runner.snapshot())
            else:
                row = await self._store.find(run)
                if row is None or (row.state not in OPEN_STATES and not await self._next_events(None, run, after)):
                    return
                if bytes(row.record) != shown:
                    shown = bytes(row.record)
                    yield Progress(msgspec.json.decode(shown))
            await self._wait_for_news(runner, changed, _has_told_more(after))

    async def _next_events(self, runner: Runner | None, run: RunId, after: int) -> Sequence[EventRow]:
        """From memory where they are all there."""
        if runner is not None and runner.recent and runner.recent[0].seq <= after + 1:
            return [event for event in runner.recent if event.seq > after]
        return await self._store.events(run, after=after, types=(), most=EVENTS_READ)

    async def _wait_for_news(
        self, runner: Runner | None, changed: asyncio.Event | None, is_news: Callable[[Runner], bool]
    ) -> None:
        """Until there is news, which is told at once, or a snapshot is due (W182)."""
        if runner is None or changed is None:
            await asyncio.sleep(POLL_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS * 10):
                await changed.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SNAPSHOT_SECONDS):
                while not (runner.left or is_news(runner)):
                    await runner.changed.wait()

    async def _shown(self, rows: Sequence[RunRow]) -> list[dict[str, Any]]:
        records = [await self._record(row) for row in rows]
        away = {RunId(record["id"]): record for record in records if self._is_away(record)}
        if not away:
            return records
        for run, left_ms in (await self._store.held_ms(list(away), self._clock.unix_ms())).items():
            if left_ms <= LEASE_MS - SILENT_MS:
                away[run]["driver"] = "silent" if left_ms else "none"
        return records

    def _is_away(self, record: dict[str, Any]) -> bool:
        """It is open, and held by another process, or by none."""
        run = record["id"]
        return record["state"] in OPEN_STATES and run not in self.runs.driven and run not in self.runs.sleeping

    async def _record(self, row: RunRow) -> dict[str, Any]:
        live = await self._live(row.id)
        if live is not None:
            return live.record(self._clock.unix_ms())
        if row.state in OPEN_STATES:  # it may have ended since it was read
            row = await self._store.find(row.id) or row
        return aged(msgspec.json.decode(row.record), self._clock.unix_ms())

    async def _live(self, run: RunId) -> View | None:
        runner = self.runs.driven.get(run)
        return None if runner is None else await runner.durable()

    async def _view(self, row: RunRow) -> View:
        return await self._live(row.id) or fold_view(await self.runs.lines(row.id))


def _has_told_more(after: int) -> Callable[[Runner], bool]:
    """There is an event behind that one."""
    return lambda runner: bool(runner.recent) and runner.recent[-1].seq > after


def _is_no_longer(state: RunState) -> Callable[[Runner], bool]:
    """The run is in another state."""
    return lambda runner: runner.view.state != state


def fold_view(lines: Sequence[Line]) -> View:
    """The run that a journal tells of."""
    header = lines[0]
    assert isinstance(header, RunLine)
    view = View(header.spec)
    for line in lines:
        view.feed(line)
    return view


def _value_of(lines: Sequence[Line], index: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        match line:
            case IssuedLine() if line.index == index:
                found = {"prompt": visible(line.prompt)}
            case ResultLine() if line.index == index:
                found |= {"value": line.value}
            case ErrorLine(seq=int()) if line.index == index:
                found |= {"value": None, "error": line.thrown, "reason": line.null}
            case RefusedLine() if line.index == index:
                found |= {"value": None, "error": line.thrown}
            case _:
                pass
    return found
