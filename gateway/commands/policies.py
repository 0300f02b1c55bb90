"""`ringfence policy test`: the tests and examples of every rule. Not the load-time gate, which runs them too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.commands.output import EXIT_DONE, EXIT_FAILED, plain, print_json, print_rich, table
from gateway.policy.loadcheck import run_policy_tests


def run_tests(folder: Path, overrides: Mapping[str, Any], *, as_json: bool) -> int:
    """Run them for the policies under `folder`. Raises GatewayError when the folder cannot be read."""
    report = run_policy_tests(folder, overrides)
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "passed": report.passed,
                "failed": report.failed,
                "rules": report.results,
                "problems": report.problems,
            }
        )
        return EXIT_DONE if report.ok else EXIT_FAILED
    rows = table(f"Policies in {folder}", "rule", ">passed", ">failed")
    for result in report.results:
        rows.add_row(plain(result.rule), str(result.passed), str(len(result.failures)))
    print_rich(rows)
    for result in report.results:
        for failure in result.failures:
            print_rich(plain(f"failed: {failure.file}:{failure.line}: {failure.name}: {failure.detail}"))
    for problem in report.problems:
        print_rich(plain(f"problem: {problem.file}:{problem.line}: {problem.message} ({problem.suggestion})"))
    print(f"passed: {report.passed}, failed: {report.failed}, problems: {len(report.problems)}")
    return EXIT_DONE if report.ok else EXIT_FAILED
