"""Static checks of a workflow script: what can be told of it before anything runs. It is parsed, never executed."""

from runtime.check.faults import CheckError
from runtime.check.prepared import Prepared, check, prepare
from runtime.check.profile import Profile

__all__ = ["CheckError", "Prepared", "Profile", "check", "prepare"]
