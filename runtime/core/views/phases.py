"""Which progress group a call belongs to (W85 to W88, W108). Names and ids only; what happens in a group is counted
elsewhere.
"""

from dataclasses import dataclass
from hashlib import sha256

from runtime.core.display import one_line
from runtime.core.journal import NestedLine
from runtime.core.limits import NAME_CHARS_MAX, PHASES_MAX
from runtime.core.model import RunId, RunSpec

NO_PHASE = "(no phase)"
MORE_PHASES = "(more phases)"


@dataclass(frozen=True, slots=True)
class Phase:
    """One group. Two calls with the same title and workflow are in the same one."""

    id: str
    title: str
    """As it is shown."""
    workflow: str | None = None
    """The nested workflow whose phase it is."""
    declared: bool = False


def workflow_run_id(run: RunId) -> str:
    """The run's id in events."""
    return "wrun_" + run.removeprefix("wf_")


class PhaseBook:
    """The groups of a run in order: declared ones first, then as they come up."""

    def __init__(self, spec: RunSpec) -> None:
        self._run = spec.id
        self._workflows: dict[int, str] = {}
        self._phases: dict[tuple[str | None, str], Phase] = {}
        for title in spec.phases:
            self._phases.setdefault((None, title), self._phase(None, title, declared=True))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All so far."""
        return tuple(self._phases.values())

    def name_workflow(self, line: NestedLine) -> None:
        """Its calls come under this name."""
        self._workflows[line.id + 1] = one_line(line.name or line.wanted, NAME_CHARS_MAX)

    def find(self, nested: int, title: str | None) -> Phase:
        """The group of a call or of `phase(title)`; those beyond the limit share one (W88)."""
        key = (self._workflows.get(nested), title or NO_PHASE)
        phase = self._phases.get(key)
        if phase is None and len(self._phases) >= PHASES_MAX and title:
            key = (None, MORE_PHASES)
            phase = self._phases.get(key)
        if phase is None:
            phase = self._phases[key] = self._phase(*key)
        return phase

    def _phase(self, workflow: str | None, title: str, *, declared: bool = False) -> Phase:
        digest = sha256("\0".join((self._run, workflow or "", title)).encode(errors="surrogatepass")).hexdigest()
        return Phase(f"wrph_{digest[:24]}", one_line(title, NAME_CHARS_MAX), workflow, declared)
