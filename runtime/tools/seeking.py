"""Starts the process that searches (`seek/main.py`), and kills it when it is late. Knows no patterns."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from runtime.tools.beneath import Folder
from runtime.tools.inputs import GlobInput, GrepInput
from runtime.tools.refusal import Refused

SEARCH_SECONDS = 20.0
GRACE_SECONDS = 3.0
"""How long it may take to stop by itself, start included."""
_ROOT = str(Path(__file__).parents[2])
_BEGIN = f"import sys; sys.path.append({_ROOT!r}); from runtime.tools.seek.main import main; main()"


async def seek(folder: Folder, asked: GlobInput | GrepInput, *, seconds: float = SEARCH_SECONDS) -> str:
    """What Glob or Grep answers. Raises `Refused`."""
    start = await asyncio.to_thread(_start, folder, asked.path or ".")
    request = {"seconds": seconds, "start": start, **_request(folder, asked)}
    root = folder.duplicate()
    try:
        answer = await _ask(root, json.dumps(request).encode(), seconds + GRACE_SECONDS)
    finally:
        os.close(root)
    if answer["failed"]:
        raise Refused(answer["text"])
    return answer["text"]


def _start(folder: Folder, path: str) -> tuple[str, ...]:
    with folder.locate(path) as spot:
        if spot.status is None:
            raise Refused(f"There is nothing at {spot}.")
        return spot.parts


def _request(folder: Folder, asked: GlobInput | GrepInput) -> dict[str, Any]:
    if isinstance(asked, GrepInput):
        return {"kind": "grep", **msgspec.structs.asdict(asked)}
    if asked.pattern.startswith("/"):
        return {"kind": "glob", "pattern": f"/{'/'.join(folder.beneath(asked.pattern))}", "start": ()}
    return {"kind": "glob", "pattern": asked.pattern}


async def _ask(root: int, request: bytes, seconds: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _BEGIN, str(root)),
        pass_fds=(root,),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            answer, _ = await process.communicate(request)
    except TimeoutError:
        raise Refused("The search took too long and was stopped: use a simpler pattern or a smaller path.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
    if process.returncode != 0:
        raise Refused("The search ended early, most likely for want of memory: use a smaller path.")
    return json.loads(answer)
