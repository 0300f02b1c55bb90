"""Secrets that one run of our own runtime shows to this gateway, in the name of whoever started it. Memory only.

They end with the run, with the process, and when the owner's credential is no longer accepted. What they may be used
for is less than the owner's: requests that name their run, and no operator's path (`web/middlewares.py`).
"""

import hmac
import os
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.core.decisions.decision import Principal

PREFIX = "rf_run_"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class RunBearer:
    """Whose it is, and which run's."""

    digest: bytes
    owner: Principal
    run: str


@dataclass(slots=True)
class RunBearers:
    """Those of the runs that are driven here."""

    _by_digest: dict[bytes, RunBearer] = field(default_factory=dict[bytes, RunBearer])
    _by_run: dict[str, RunBearer] = field(default_factory=dict[str, RunBearer])

    def open(self, owner: Principal, run: str) -> str:
        """A new secret; one that the run had before ends."""
        self.close(run)
        secret = PREFIX + os.urandom(SECRET_BYTES).hex()
        bearer = RunBearer(sha256(secret.encode()).digest(), owner, run)
        self._by_digest[bearer.digest] = self._by_run[run] = bearer
        return secret

    def close(self, run: str) -> None:
        """Its secret is nobody's from now on. May be called at any time and more than once."""
        bearer = self._by_run.pop(run, None)
        if bearer is not None:
            del self._by_digest[bearer.digest]

    def find(self, digest: bytes) -> RunBearer | None:
        """The bearer whose secret has this SHA-256."""
        found = self._by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None
