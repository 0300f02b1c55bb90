"""The limits of a run, as section 21 of the runtime's specification gives them. Values only."""

import msgspec

KIB = 1024
MIB = 1024 * KIB

ITEMS_MAX = 4_096
"""Per `parallel` or `pipeline` (W74)."""
NESTED_CALLS_MAX = 256
"""Calls of `workflow()` in a run (W106)."""
TIMERS_MAX = 64
TIMER_MS_MAX = 600_000
SCRIPT_BYTES_MAX = 512 * KIB
ARGS_BYTES_MAX = MIB
PROMPT_BYTES_MAX = 512 * KIB
SCHEMA_BYTES_MAX = 64 * KIB
SCHEMA_DEPTH_MAX = 32
RESULT_BYTES_MAX = MIB
ARTEFACT_BYTES_MAX = 16 * MIB
"""A larger result is refused; one between the two is kept apart and referenced (W172)."""
RESULT_DEPTH_MAX = 200
INLINE_BYTES_MAX = 256 * KIB
"""Larger values stand beside the journal, by hash (W149)."""
LOG_CHARS_MAX = 4_096
LOG_LINES_MAX = 2_000
LOG_BYTES_MAX = 512 * KIB
PROMPTS_BYTES_MAX = 64 * MIB
"""Of all agents of a run together: they are in memory while it is driven."""
NARRATION_LINES_MAX = 5_000
"""Phases, logs and warnings of a script that its journal takes; of further ones nothing is kept."""
MISTAKES_MAX = 1_000
"""Calls of a run that could never begin, such as one with a schema that is none, after which it is ended."""
PHASES_MAX = 256
DECLARED_PHASES_MAX = 64
NAME_CHARS_MAX = 64
DESCRIPTION_CHARS_MAX = 256
LABEL_CHARS_MAX = 60
MESSAGE_CHARS_MAX = 4_000
MESSAGES_MAX = 20
"""Steering messages per agent (W136)."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set, with the defaults of the profile `gateway`."""

    concurrency: int = 16
    agents: int = 1_000
    refusals: int = 64
    """Refused calls after which a run is ended (W99)."""
    idle_deliveries: int = 10_000
    """Deliveries to the script without a new agent, phase or return, after which it is ended (W100)."""
    idle_cpu_seconds: float = 30.0
    drain_cpu_seconds: float = 2.0
    total_cpu_seconds: float = 60.0
    heap_bytes: int = 64 * MIB
    stack_bytes: int = 512 * KIB
    heartbeat_seconds: float = 5.0
    """How long the sandbox may owe an answer before it is killed."""
    lifetime_seconds: float = 86_400.0
    stagger_ms: int = 5_000
    admission_reserve: bool = False
    """A call starts only while the script's budget leaves what finished calls of its phase took on average (W120)."""
    cache_ms: int = 300_000
    """How long a prompt-cache prefix that was answered counts as warm."""
    idle_seconds: float = 180.0
    """Longest silence of a model request (W57)."""
    schema_tries: int = 5
    nudges: int = 2
    retry_seconds: float = 600.0
    """How long one model request is tried again (W56)."""
    turns: int = 200
    """Model requests of one agent whose call names no `maxTurns`."""
    warn_agents: int = 25
    warn_tokens: int = 1_500_000
