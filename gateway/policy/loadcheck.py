"""The load-time gate of policies: parse, refuse unknown and impure functions, run every test and example.

Runs in a throw-away process with a time limit, for a policy under test may loop or exhaust memory; nothing that it does
reaches the gateway. Not the engine that serves (`embedded.py`). `python -m gateway.policy.loadcheck` is that process:
a bundle and settings as JSON on standard input, an inspection as JSON on standard output.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

import gateway
from gateway.policy.bundle import Bundle, load_bundle
from gateway.policy.evaluator import build_evaluator, first_line
from gateway.policy.inspection import inspect_bundle
from gateway.policy.ruletests import RuleResult, run_rule_tests
from gateway.policy.settings import Problem, merge_settings, plain

CHECK_SECONDS_MAX = 30.0
"""Time for all tests and examples; they take about one second."""
FAULTLESS_MAX = 64

_faultless: dict[bytes, None] = {}
"""Digests of policy sets, with their settings, that were checked and found without fault."""

__all__ = ["PolicyReport", "Problem", "check_bundle", "check_policies", "run_policy_tests"]


class _Work(msgspec.Struct, frozen=True):
    files: dict[str, str]
    settings: dict[str, Any]


class PolicyReport(msgspec.Struct, frozen=True):
    """What the gate found: problems, and how each rule's tests and examples went."""

    problems: tuple[Problem, ...]
    results: tuple[RuleResult, ...] = ()

    @property
    def passed(self) -> int:
        """Tests and examples that went as they say."""
        return sum(one.passed for one in self.results)

    @property
    def failed(self) -> int:
        """Tests and examples that did not."""
        return sum(len(one.failures) for one in self.results)

    @property
    def ok(self) -> bool:
        """Whether the policies may serve."""
        return not self.problems and not self.failed


def check_policies(path: Path, settings: Mapping[str, Any]) -> list[Problem]:
    """Every problem of the policies under `path` with `settings` over their defaults.

    Raises `GatewayError` when the directory cannot be read.
    """
    return check_bundle(load_bundle(path), settings)


def check_bundle(bundle: Bundle, settings: Mapping[str, Any]) -> list[Problem]:
    """Every problem of a policy set; failed tests and examples are among them.

    One that this process has found without fault is not checked again: policies are pure.
    """
    work = _encode(bundle, settings)
    digest = sha256(work).digest()
    if digest in _faultless:
        return []
    report = _inspect_apart(work)
    failures = [
        Problem(one.file, one.line, f"{one.name}: {one.detail}", f"correct the rule {result.rule} or its test")
        for result in report.results
        for one in result.failures
    ]
    problems = [*report.problems, *failures]
    if not problems:
        _faultless[digest] = None
        if len(_faultless) > FAULTLESS_MAX:
            del _faultless[next(iter(_faultless))]
    return problems


def run_policy_tests(path: Path, settings: Mapping[str, Any]) -> PolicyReport:
    """How the tests and examples of each rule went. Raises `GatewayError` when the directory cannot be read."""
    return _inspect_apart(_encode(load_bundle(path), settings))


def _encode(bundle: Bundle, settings: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(_Work(dict(bundle.files), plain(settings)), order="deterministic")


def _inspect_apart(work: bytes) -> PolicyReport:
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway.policy.loadcheck"],
            input=work,
            capture_output=True,
            timeout=CHECK_SECONDS_MAX,
            cwd=Path(gateway.__file__).parent.parent,
            check=False,
        )
        return msgspec.json.decode(ended.stdout, type=PolicyReport)
    except subprocess.TimeoutExpired:
        return _stopped(
            f"the check took longer than {CHECK_SECONDS_MAX:g} seconds", "look for a loop in a rule or test"
        )
    except msgspec.DecodeError:
        return _stopped("the check ended without a result", "a rule may exhaust memory; try with fewer rules")


def _stopped(message: str, suggestion: str) -> PolicyReport:
    return PolicyReport((Problem("policies", 0, message, suggestion),))


def inspect_here(bundle: Bundle, settings: Mapping[str, Any]) -> PolicyReport:
    """The whole gate in this process."""
    merged, problems = merge_settings(bundle, settings)
    problems.extend(inspect_bundle(bundle, merged))
    if problems:
        return PolicyReport(tuple(problems))
    try:
        build_evaluator(bundle.modules, json.dumps({"ringfence": {"settings": merged}}))
        return PolicyReport((), tuple(run_rule_tests(bundle)))
    except RuntimeError as error:
        return _stopped(first_line(error), "correct the policies")


def _main() -> int:
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=_Work)
    report = inspect_here(Bundle(work.files), work.settings)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
