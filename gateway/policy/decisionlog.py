"""Decisions in the format of OPA's decision log, to a file or to a service. Not the audit trail, which is the evidence.

Whichever engine decided, a record carries our decision id, the revision, the query and the answer. What the
configuration erases is left out and named under `erased`; texts with secrets in them are masked and named under
`masked`. Where records go: `logsinks.py`.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import msgspec

from gateway.config.model import DecisionLog
from gateway.context import RequestContext
from gateway.core.decisions.decision import Decision, Query
from gateway.core.decisions.masking import Masking
from gateway.policy.logsinks import SEND_SECONDS_MAX, FileSink, ServiceSink, Sink
from gateway.tasks import Tasks

PATH = "ringfence/decision"
"""Of the entry point, as OPA writes it."""
BUNDLE = "ringfence"
ARGV = "argv"


class OpaDecisionLog:
    """Records decisions. Takes what `ports.AuditSink.decision` takes."""

    def __init__(self, settings: DecisionLog, sink: Sink, version: str) -> None:
        self._erase = frozenset(settings.erase)
        self._labels = {"app": "ringfence", "id": str(uuid4()), "version": version, **settings.labels}
        self._sink = sink

    @property
    def lost(self) -> int:
        """Records that could be neither written nor sent since the start."""
        return self._sink.lost

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None:
        """One decision under the id that the agent was told."""
        event = self.event(query, decision, decision_id)
        event["custom"] = {"request": ctx.id}
        self._sink.put(json.dumps(event, separators=(",", ":")).encode())

    def event(self, query: Query, decision: Decision, decision_id: str) -> dict[str, Any]:
        """The record, masked."""
        content: dict[str, Any] = {
            "input": msgspec.to_builtins(query),
            "result": {name: value for name, value in msgspec.to_builtins(decision).items() if name != "revision"},
        }
        masker = _Masker(self._erase)
        return {
            "labels": self._labels,
            "decision_id": decision_id,
            "bundles": {BUNDLE: {"revision": decision.revision}},
            "path": PATH,
            **masker.value(content, ""),
            "erased": masker.erased,
            "masked": masker.masked,
            "timestamp": _timestamp(query.time.unix_ms),
        }


def _timestamp(unix_ms: int) -> str:
    whole = datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{unix_ms % 1000:03}Z"


class _Masker:
    """Copies JSON values without what is erased and with secrets masked, and keeps the paths of both."""

    def __init__(self, erase: frozenset[str]) -> None:
        self._erase = erase
        self.erased: list[str] = []
        self.masked: list[str] = []

    def value(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            members = cast("Mapping[str, Any]", value)
            return {name: self.value(members[name], f"{path}/{name}") for name in members if self._stays(path, name)}
        if not isinstance(value, list | tuple):
            return value
        held = cast("Sequence[Any]", value)
        if path.endswith(f"/{ARGV}") and all(isinstance(word, str) for word in held):
            return self._words(cast("Sequence[str]", held), path)
        return [self.value(inner, f"{path}/{at}") for at, inner in enumerate(held) if self._stays(path, str(at))]

    def _stays(self, path: str, name: str) -> bool:
        if (whole := f"{path}/{name}") not in self._erase:
            return True
        self.erased.append(whole)
        return False

    def _text(self, text: str, path: str) -> str:
        masked = Masking().text(text)
        if masked != text:
            self.masked.append(path)
        return masked

    def _words(self, words: Sequence[str], path: str) -> list[str]:
        masked = Masking().words(words)
        self.masked += [f"{path}/{at}" for at, word in enumerate(words) if word != masked[at]]
        return masked


@asynccontextmanager
async def open_decision_log(settings: DecisionLog, version: str) -> AsyncGenerator[OpaDecisionLog]:
    """The configured log; on the way out what waits is sent once more. `version`: of the gateway, for the labels.

    Raises OSError when its file cannot be written.
    """
    if settings.path is not None:
        file = FileSink(settings.path)
        try:
            yield OpaDecisionLog(settings, file, version)
        finally:
            file.close()
        return
    assert settings.url is not None
    service, tasks = ServiceSink(settings.url, settings.token), Tasks()
    sending = tasks.spawn("decision log", service.keep_sending())
    try:
        yield OpaDecisionLog(settings, service, version)
    finally:
        sending.cancel()
        await tasks.close(SEND_SECONDS_MAX)
        await service.send()
