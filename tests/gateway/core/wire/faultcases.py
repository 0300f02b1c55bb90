"""The golden errors of each backend. No test here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.core.wire.shapes import SHAPES, Shape

GOLDEN = Path(__file__).parents[3] / "golden" / "faults"


@dataclass(frozen=True, slots=True)
class Case:
    """One error answer of a backend, and the fault that it is."""

    name: str
    shape: Shape
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    fault: tuple[int, str, str]

    def __str__(self) -> str:
        return f"{self.shape}: {self.name}"


def _case(shape: Shape, stored: dict[str, Any]) -> Case:
    body = stored["body"]
    fault = stored["fault"]
    return Case(
        stored["case"],
        shape,
        stored["status"],
        list(stored["headers"].items()),
        body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode(),
        (fault["status"], fault["type"], fault["message"]),
    )


CASES = [_case(shape, stored) for shape in SHAPES for stored in json.loads((GOLDEN / f"{shape}.json").read_text())]
