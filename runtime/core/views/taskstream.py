"""The same run in the shapes of Claude Code's stream (W181, W92). Pure functions of the view. The newest snapshot
replaces the older ones; how often there is one is not said here.
"""

from collections.abc import Mapping
from typing import Any, Literal

from runtime.core.model import OPEN_STATES, AgentState, RunSpec
from runtime.core.views.standing import TASK_STATUS, headline, notified_status
from runtime.core.views.view import View

LATE_MS = 5_000
"""How long after the notification a snapshot may still be sent."""

StreamState = Literal["start", "done", "error", "cached"]
_STREAM_STATES: Mapping[AgentState, StreamState] = {
    "queued": "start",
    "held": "start",
    "running": "start",
    "done": "done",
    "error": "error",
    "stopped": "error",
    "skipped": "error",
    "cached": "cached",
}


def task_started(spec: RunSpec, *, task_id: str, tool_use_id: str | None) -> dict[str, Any]:
    """The first one."""
    view = View(spec)
    return {
        "type": "system",
        "subtype": "task_started",
        "task_type": "local_workflow",
        "task_id": task_id,
        "tool_use_id": tool_use_id,
        "workflow_name": view.name,
        "description": view.description,
    }


def task_progress(view: View, now_ms: int, *, task_id: str) -> dict[str, Any] | None:
    """A whole snapshot; None when it is too late for one."""
    if view.ended_ms is not None and now_ms > view.ended_ms + LATE_MS:
        return None
    phases = view.phases(now_ms)
    places = {phase["id"]: phase["index"] for phase in phases}
    rows = [{"type": "workflow_phase", "index": phase["index"], "title": phase["title"]} for phase in phases]
    agents = [_agent(view, row, places) for row in view.agents(now_ms)]
    return {
        "type": "system",
        "subtype": "task_progress",
        "task_id": task_id,
        "usage": usage_of(view, now_ms),
        "workflow_progress": [*rows, *agents],
    }


def task_updated(view: View, *, task_id: str) -> dict[str, Any]:
    """The state as a patch."""
    patch = {"status": TASK_STATUS[view.state], "end_time": view.ended_ms}
    return {"type": "system", "subtype": "task_updated", "task_id": task_id, "patch": patch}


def task_notification(view: View, *, task_id: str, output_file: str | None) -> dict[str, Any]:
    """The last one, of a run that has ended."""
    if view.state in OPEN_STATES or view.ended_ms is None:
        raise ValueError(f"run {view.spec.id} is {view.state}: there is nothing to notify of yet")
    return {
        "type": "system",
        "subtype": "task_notification",
        "task_id": task_id,
        "status": notified_status(view.state),
        "summary": f'Dynamic workflow "{view.description}" {headline(view.state, view.outcome)}',
        "output_file": output_file,
        "usage": usage_of(view, view.ended_ms),
    }


def usage_of(view: View, now_ms: int) -> dict[str, int]:
    """Of all attempts of the run."""
    used = view.counts.used
    return {
        "total_tokens": used.total_tokens,
        "tool_uses": used.tool_calls,
        "duration_ms": view.elapsed_ms(now_ms),
    }


def _agent(view: View, row: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    return {
        "type": "workflow_agent",
        "index": row["index"],
        "agentId": row["agent_id"],
        "state": _STREAM_STATES[row["state"]],
        "label": row["label"],
        "phaseIndex": places.get(row["phase_id"]),
        "phaseTitle": row["phase"],
        "startedAt": row["started_ms"],
        "endedAt": row["ended_ms"],
        "tokens": row["tokens"],
        "resultPreview": view.preview(row["index"]),
    }
