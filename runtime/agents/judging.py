"""Asks `judge.py` whether a value fits a schema, without ever letting a hostile schema hold up the event loop.

Small and plain: judged here, in microseconds. With patterns, references or much to compare: judged by a child process
that ends itself when a question takes too long; the schema is then remembered as unusable, so that it costs that once.
The child is started when it is first needed, and lives until `close`.
"""

import asyncio
import contextlib
import json
import sys
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from runtime.agents import judge
from runtime.agents.structured import Mismatch

ANSWER_SECONDS_MAX = 30.0
"""Longest wait for a child on a busy machine; its own limit is far below, and counts what it really works."""
ANSWER_BYTES_MAX = 1024 * 1024
PLAIN_WORK_MAX = 100_000
"""Bytes of schema times bytes of value up to which a plain question is answered at once."""
REMEMBERED_MAX = 1_024
_COSTLY_WORDS = frozenset({"pattern", "patternProperties", "$ref", "uniqueItems"})
"""Keywords whose cost is not bounded by the sizes of schema and value. A property of that name counts as well."""


class SchemaUnusable(Exception):
    """No value can be held against this schema; the message says why."""


class SchemaJudge:
    """One for all attempts."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._unusable: OrderedDict[bytes, str] = OrderedDict()

    @property
    def child_pid(self) -> int | None:
        """Of the child that judges, while there is one."""
        return self._child.pid if self._child is not None else None

    async def mismatches(self, schema: dict[str, Any], value: Any) -> tuple[Mismatch, ...]:
        """Every place where the value does not fit. Raises `SchemaUnusable`."""
        question = json.dumps({"schema": schema, "value": value}).encode()
        schema_bytes = len(json.dumps(schema))
        work = schema_bytes * (len(question) - schema_bytes)
        if work <= PLAIN_WORK_MAX and not _is_costly(schema):
            return _told(_judge_here(schema, value))
        key = sha256(json.dumps(schema).encode()).digest()
        if key in self._unusable:
            raise SchemaUnusable(self._unusable[key])
        async with self._turn:
            answer = await self._ask(question)
        if answer is None:
            self._remember(key, f"checking a value against it took more than {judge.CPU_SECONDS_MAX:g} s")
            raise SchemaUnusable(self._unusable[key])
        if "unusable" in answer:
            raise SchemaUnusable(str(answer["unusable"]))
        return _told(answer["mismatches"])

    async def close(self) -> None:
        """End the child."""
        async with self._turn:
            await self._end_child()

    async def _ask(self, question: bytes) -> dict[str, Any] | None:
        """The child's answer, or None when it ended instead of giving one."""
        child = await self._start_child()
        line: bytes | None = None
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(question + b"\n")
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                with contextlib.suppress(ConnectionError):
                    await child.stdin.drain()
                line = await child.stdout.readline()
        except TimeoutError:
            pass
        finally:
            whole = line is not None and line.endswith(b"\n")
            if not whole:
                await self._end_child(alive=line is None)
        return cast(dict[str, Any], json.loads(line)) if whole and line else None

    async def _start_child(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(Path(judge.__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                start_new_session=True,
                limit=ANSWER_BYTES_MAX,
            )
        return self._child

    async def _end_child(self, *, alive: bool = True) -> None:
        """Not `alive`: it has ended by itself."""
        child, self._child = self._child, None
        if child is None:
            return
        if alive:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()

    def _remember(self, key: bytes, reason: str) -> None:
        self._unusable[key] = reason
        while len(self._unusable) > REMEMBERED_MAX:
            self._unusable.popitem(last=False)


def _judge_here(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    try:
        return judge.mismatches(schema, value)
    except ValueError as fault:
        raise SchemaUnusable(str(fault)) from None


def _told(pairs: list[tuple[str, str]]) -> tuple[Mismatch, ...]:
    return tuple(Mismatch(path, message) for path, message in pairs)


def _is_costly(schema: Any) -> bool:
    if isinstance(schema, dict):
        members = cast(dict[str, Any], schema)
        return not _COSTLY_WORDS.isdisjoint(members) or any(_is_costly(each) for each in members.values())
    return isinstance(schema, list) and any(_is_costly(each) for each in cast(list[Any], schema))
