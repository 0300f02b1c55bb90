"""The audit trail: one JSON line per decision and per request. Not metrics, and not a log for developers.

What a record says comes from the request's context. No prompt and no answer is written; a tool's input is its SHA-256,
its length and the facts that rules read, with secrets masked, unless the decision carries the obligation `log_full`.

How durable: a line is handed to the operating system before `record` returns, so that it survives the end of this
process; it is not synced, so that a power cut may lose the last seconds. A trail that fails does not stop traffic: it
is reported on stderr when it begins to fail and when it works again, and each lost record is counted in `failures`.
A reader of stdout that stalls is waited for `STALL_SECONDS` once, then records are lost until it reads again.
"""

import json
import os
import select
import stat
import sys
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from gateway.context import RequestContext
from gateway.core.decisions.decision import Decision, Query, ToolCall
from gateway.core.decisions.recorded import query_fields
from gateway.core.fuses.fuse import FuseRecord
from gateway.core.money.budgets import Expired, Hold

STDOUT = "stdout"
STALL_SECONDS = 0.05
PIPE_BYTES = 4096
"""What a pipe that says it is writable takes at once (PIPE_BUF on Linux)."""
FILE_MODE = 0o640
LOG_FULL = "log_full"
UNNAMED_WORKFLOW = "custom"
"""In place of the name that a workflow was given."""

_STDOUT_DESCRIPTOR = 1
_encoder = msgspec.json.Encoder()


class AuditLog:
    """Implements `ports.AuditSink`: appends to a file that rotates by size, or to stdout. One writer per file."""

    def __init__(self, path: str, rotate_bytes: int, keep: int) -> None:
        """`path` is `stdout` or a file. Raises OSError when the file cannot be opened: nothing would be recorded."""
        self.failures = 0
        """Records that could not be written since the start."""
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._failing = False
        self._torn = False
        self._size_bytes = 0
        self._descriptor = _STDOUT_DESCRIPTOR if path == STDOUT else self._open_file()
        self._waits = not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._rotates = path != STDOUT and not self._waits

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None:
        """One decision, as `decision_fields` has it."""
        self.record("decision", decision_fields(ctx, query, decision, decision_id=decision_id))

    def request(self, ctx: RequestContext) -> None:
        """One request that ended, as `request_fields` has it."""
        self.record("request", request_fields(ctx))

    def fuse(self, record: FuseRecord) -> None:
        """A fuse that changed: what blew it, or who replaced it and why."""
        self.record("fuse", {"fuse": record})

    def expired(self, expired: Expired, at_ms: int) -> None:
        """A hold that nobody ended: spend, unless a request with this hold is recorded after all."""
        fields = {
            "at_ms": at_ms,
            "hold": expired.id,
            "accounts": expired.accounts,
            "model": expired.model,
            "backend": expired.backend,
            "cost_nanousd": expired.charge.cost,
        }
        self.record("expired", fields)

    def corrected(self, hold_id: str, at_ms: int) -> None:
        """The true cost of an expired hold reached the ledger after all."""
        self.record("corrected", {"at_ms": at_ms, "hold": hold_id})

    def record(self, event: str, fields: Mapping[str, Any]) -> None:
        """Append `{"event": event, ...fields}` as one line. Never raises."""
        line = _encode({"event": event, **fields}) + b"\n"
        if self._rotates and self._size_bytes and self._size_bytes + len(line) > self._rotate_bytes:
            self._rotate()
        try:
            self._write(b"\n" + line if self._torn else line)
        except OSError as error:
            self._lose(error)
        else:
            if self._failing:
                self._failing = False
                _tell(f"audit: writing to {self._path} works again; {self.failures} records were lost so far")

    def close(self) -> None:
        """Close the file; stdout stays open. A record after this is lost and counted."""
        if self._path != STDOUT and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_file(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._size_bytes = os.fstat(descriptor).st_size
        return descriptor

    def _write(self, line: bytes) -> None:
        """All of `line`, or an OSError; a line that was cut is remembered so that the next one starts on its own."""
        written = 0
        try:
            while written < len(line):
                piece = line[written:]
                if self._waits:
                    self._await_reader()
                    piece = piece[:PIPE_BYTES]
                written += os.write(self._descriptor, piece)
        finally:
            self._size_bytes += written
            if written:
                self._torn = written < len(line)

    def _await_reader(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if not poll.poll(0 if self._failing else STALL_SECONDS * 1000):
            raise BlockingIOError("its reader does not read")

    def _rotate(self) -> None:
        try:
            self._shift()
        except OSError as error:
            self._size_bytes = 0
            cause = error.strerror or str(error)
            _tell(
                f"audit: cannot rotate {self._path}: {cause}; it is written on for another {self._rotate_bytes} bytes"
            )

    def _shift(self) -> None:
        """`file.1` is the newest of the rotated files; what would be older than `file.<keep>` is replaced."""
        for number in range(self._keep - 1, 0, -1):
            if os.path.exists(f"{self._path}.{number}"):
                os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")
        rotated = self._descriptor
        self._descriptor = self._open_file()
        self._torn = False
        os.close(rotated)

    def _lose(self, error: OSError) -> None:
        self.failures += 1
        if not self._failing:
            self._failing = True
            cause = error.strerror or str(error)
            _tell(f"audit: cannot write to {self._path}: {cause}; traffic goes on, lost records are counted")


def decision_fields(ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> dict[str, Any]:
    """The record of one decision. `decision_id` is what the agent was told; the request's own id is `request`."""
    action = query.action
    fields: dict[str, Any] = {
        "at_ms": query.time.unix_ms,
        "id": decision_id,
        "request": ctx.id,
        "kind": str(action.__struct_config__.tag),
        "source": ctx.source,
        "allow": decision.allow,
        "reasons": decision.reasons,
        "shadow": decision.shadow,
        "revision": decision.revision,
        "principal": query.principal,
        "lineage": query.lineage,
        "workflow": workflow_fields(ctx, decision),
        **query_fields(query, decision),
    }
    if isinstance(action, ToolCall):
        fields["tool"] = action.tool
        fields["class"] = action.tool_class
        fields["tool_use"] = action.tool_use_id
        written = _encode(action.input)
        fields["input_sha256"] = sha256(written).hexdigest()
        fields["input_bytes"] = len(written)
    return fields


def request_fields(ctx: RequestContext) -> dict[str, Any]:
    """The record of one request: all that its context says. The query string is left out: it may carry a secret."""
    ask, decision = ctx.ask, ctx.decision
    return {
        "at_ms": ctx.received_unix_ms,
        "id": ctx.id,
        "method": ctx.method,
        "path": ctx.path.partition("?")[0],
        "dialect": ctx.dialect,
        "tag": ctx.tag,
        "client": {"name": ctx.client_name, "version": ctx.client_version},
        "principal": ctx.principal,
        "lineage": ctx.lineage,
        "workflow": workflow_fields(ctx, decision),
        "model": None if ask is None else ask.model,
        "stream": None if ask is None else ask.stream,
        "max_tokens": None if ask is None else ask.max_tokens,
        "status": ctx.status,
        "reason": ctx.reason,
        "message": ctx.message,
        "allow": None if decision is None else decision.allow,
        "reasons": () if decision is None else decision.reasons,
        "shadow": () if decision is None else decision.shadow,
        "revision": None if decision is None else decision.revision,
        "upstream": ctx.upstream,
        "upstream_model": ctx.upstream_model or ctx.model or None,
        "upstream_request": ctx.upstream_request_id,
        "attempts": ctx.attempts,
        "bridged": ctx.bridged,
        "betas": ctx.betas,
        "usage": ctx.usage,
        "priced_as": None if ctx.price is None else ctx.price.id,
        "backend": _backend(ctx),
        "hold": _hold_fields(ctx.hold),
        "extensions": ctx.extensions,
        "clamped_from": ctx.clamped_from,
        "cut": ctx.cut,
        "cost_nanousd": ctx.cost_nanousd,
        "lost_nanousd": ctx.lost_nanousd,
        "cost_estimated": ctx.cost_estimated,
        "tool_calls": ctx.tool_calls,
        "restored_denials": ctx.restored_denials,
        "bytes_in": len(ctx.body),
        "bytes_out": ctx.bytes_out,
        "policy_seconds": _rounded(ctx.policy_seconds),
        "upstream_headers_seconds": _rounded(ctx.upstream_headers_seconds),
        "first_byte_seconds": _rounded(ctx.first_byte_seconds),
        "total_seconds": _rounded(ctx.total_seconds),
    }


def workflow_fields(ctx: RequestContext, decision: Decision | None) -> dict[str, Any] | None:
    """The run that an agent works for (W183). Its name is somebody's words: shown only to who logs in full."""
    run = None if ctx.lineage is None else ctx.lineage.run
    if run is None:
        return None
    in_full = decision is not None and any(each.kind == LOG_FULL for each in decision.obligations)
    node = None if ctx.agent is None else ctx.agent.run
    name = node.name if in_full and node is not None else None
    return {"run_id": run, "name": name or UNNAMED_WORKFLOW}


def _backend(ctx: RequestContext) -> str | None:
    place = ctx.places.get(ctx.upstream or "")
    return None if place is None else place.backend


def _hold_fields(hold: Hold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    return {
        "id": hold.id,
        "accounts": hold.accounts,
        "worst": hold.worst._asdict(),
        "expected": hold.expected._asdict(),
        "created_ms": hold.created_ms,
        "deadline_ms": hold.deadline_ms,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _encode(value: Any) -> bytes:
    """JSON on one line. A header may hold bytes that are no UTF-8; what stands for them is written as `?`."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
