"""Asks a real OPA many queries in one call, over the policy set as the gateway would put it there. No test here."""

import contextlib
import urllib.error
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.policy.bundle import Bundle
from tests.support.opa import Opa, opa_server

FAILED = "failed"
"""In place of an answer: the evaluation failed."""
BATCH = """package differential

answers[at] := answer if {
	some at, query in input.queries
	answer := data.ringfence.decision with input as query with data.ringfence.settings as input.settings
}
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """A real OPA that holds the modules of a bundle."""

    opa: Opa

    def answers(self, queries: Sequence[Any], settings: Mapping[str, Any]) -> list[Any]:
        """The decision of each query; None: undefined. A batch that fails is halved until it is known which did."""
        body = {"input": {"queries": queries, "settings": settings}}
        try:
            answered = self.opa.call("POST", "/v1/data/differential/answers?strict-builtin-errors=true", body)
        except urllib.error.HTTPError as error:
            error.close()
            if len(queries) == 1:
                return [FAILED]
            half = len(queries) // 2
            return [*self.answers(queries[:half], settings), *self.answers(queries[half:], settings)]
        found = answered.get("result", {})
        return [found.get(str(at)) for at in range(len(queries))]


@contextlib.contextmanager
def reference(bundle: Bundle) -> Generator[Reference]:
    """OPA with the modules of `bundle`."""
    with opa_server() as opa:
        for name in sorted(bundle.modules, key=lambda name: (not name.startswith("lib/"), name)):
            opa.call("PUT", f"/v1/policies/{name}", bundle.modules[name])
        opa.call("PUT", "/v1/policies/differential.rego", BATCH)
        yield Reference(opa)
