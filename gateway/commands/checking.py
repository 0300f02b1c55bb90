"""`ringfence check`: everything wrong with a configuration, the files it names and its policies, at once."""

from collections.abc import Mapping
from pathlib import Path

from gateway.commands.named_files import file_problems
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, plain, print_json, print_rich, table
from gateway.config import Config, ConfigInvalid, Policy, Problem, load_config
from gateway.core.pricing import format_usd
from gateway.errors import GatewayError
from gateway.policy.bundle import load_bundle
from gateway.policy.loadcheck import check_policies
from gateway.policy.settings import merge_settings


def check(path: Path, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print every problem and warning with its place, else a summary of what would run."""
    config: Config | None = None
    problems: list[Problem] = []
    try:
        config = load_config(path, environ)
        policy: Policy | None = config.policy
        problems += file_problems(config)
    except ConfigInvalid as invalid:
        problems += invalid.problems
        policy = invalid.policy
    if policy is not None and policy.folder.is_dir():
        problems += _policy_problems(policy)
    warnings = config.warnings if config is not None else ()
    if as_json:
        summary = None if config is None or problems else _summary(config)
        print_json({"ok": not problems, "problems": problems, "warnings": warnings, "summary": summary})
        return EXIT_FAILED if problems else EXIT_DONE
    _print_findings("problem", problems)
    _print_findings("warning", warnings)
    if problems or config is None:
        print(f"problems: {len(problems)}; the gateway would not serve")
        return EXIT_FAILED
    rows = table(f"{path} is in order", "what", "how")
    for what, how in _summary(config).items():
        rows.add_row(plain(what), plain(how))
    print_rich(rows)
    return EXIT_DONE


def _policy_problems(policy: Policy) -> list[Problem]:
    try:
        found = check_policies(policy.folder, policy.overrides)
    except GatewayError as error:
        return [Problem(str(policy.folder), error.message)]
    return [Problem(f"{row.file}:{row.line}" if row.line else row.file, row.message, row.suggestion) for row in found]


def _not_enforced(policy: Policy) -> str:
    settings, _ = merge_settings(load_bundle(policy.folder), policy.overrides)
    modes: dict[str, str] = settings["modes"]
    rules = sorted(f"{rule} ({mode})" for rule, mode in modes.items() if mode != "enforce")
    return f"not enforced: {', '.join(rules) or 'none'}"


def _summary(config: Config) -> dict[str, str]:
    """What would run, one line each; no secret is in any of it."""
    routes = (f"{', '.join(route.models)} -> {', '.join(route.upstreams)}" for route in config.routes)
    budgets = (
        f"{row.account} {row.window} {format_usd(row.limit_nanousd)}{' strict' if row.strict else ''}"
        for row in config.budgets
    )
    fuses = (
        f"{scope}: {', '.join(limits)}"
        for scope, limits in (
            ("agent", config.fuses.agent),
            ("session", config.fuses.session),
            ("run", config.fuses.run),
        )
        if limits
    )
    return {
        "listens on": f"{config.listen.host}:{config.listen.port}",
        "metrics on": f"{config.metrics.host}:{config.metrics.port}",
        "store": config.store.url,
        "policies": f"{config.policy.folder}, mode {config.policy.mode}, {_not_enforced(config.policy)}",
        "org": f"{config.org.id}, {len(config.org.teams)} teams",
        "credentials": f"{len(config.identity.credentials)} in the configuration",
        "upstreams": "; ".join(f"{row.id} ({row.backend})" for row in config.upstreams),
        "routes": "; ".join(routes),
        "budgets": "; ".join(budgets) or "none",
        "fuses": "; ".join(fuses) or "none",
        "audit": config.audit.path,
    }


def _print_findings(kind: str, findings: list[Problem] | tuple[Problem, ...]) -> None:
    for finding in findings:
        suggestion = f"\n    {finding.suggestion}" if finding.suggestion else ""
        print(f"{kind}: {finding.place}: {finding.message}{suggestion}")
