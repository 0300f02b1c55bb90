"""`ringfence check`: everything wrong with a configuration, the files it names and its policies, at once."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from gateway.commands.named_files import file_problems
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, plain, print_json, print_rich, table
from gateway.config import Config, ConfigInvalid, Policy, Problem, Route, UpstreamConfig, load_config
from gateway.config.backends import BACKENDS, Backend
from gateway.core.money.budgets import limit_text
from gateway.policy.bundle import load_bundle
from gateway.policy.probe import policy_problems
from gateway.policy.settings import merge_settings


def check(path: Path, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print every problem and warning with its place, else a summary of what would run."""
    config: Config | None = None
    problems: list[Problem] = []
    try:
        config = load_config(path, environ)
        policy: Policy | None = config.policy
        problems += file_problems(config)
        problems += library_problems(config.upstreams, BACKENDS)
    except ConfigInvalid as invalid:
        problems += invalid.problems
        policy = invalid.policy
    if policy is not None and (policy.bundle is not None or policy.folder.is_dir()):
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


def library_problems(upstreams: Sequence[UpstreamConfig], backends: Mapping[str, Backend]) -> list[Problem]:
    """Upstreams that would look for their cloud's credentials with a library that is not installed."""
    found: list[Problem] = []
    for at, upstream in enumerate(upstreams):
        backend = backends[upstream.backend]
        if upstream.api_key or upstream.bearer or backend.library is None or _is_installed(backend.library):
            continue
        message = f"upstream {upstream.id} needs the library {backend.library}, which is not installed"
        found.append(Problem(f"upstreams[{at}]", message, f"pip install 'ringfence[{backend.extra}]'"))
    return found


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # the package above it is not there either
        return False


def _policy_problems(policy: Policy) -> list[Problem]:
    from gateway.app import SystemClock  # imported only here: the server is most of the start-up time

    found = policy_problems(policy, SystemClock())
    return [Problem(f"{row.file}:{row.line}" if row.line else row.file, row.message, row.suggestion) for row in found]


def _policies(policy: Policy) -> str:
    """Which decide, in which mode, and what of them is not enforced as far as that is ours to say."""
    decides = f", decided by the OPA server at {policy.url}" if policy.engine == "opa" else ""
    if not policy.push:
        return f"those of the OPA server at {policy.url}"
    if policy.bundle is not None:
        place = policy.bundle.url or f"{policy.bundle.git} at {policy.bundle.ref}"
        modes: Mapping[str, str] = policy.rules
    else:
        place = str(policy.folder)
        modes = merge_settings(load_bundle(policy.folder), policy.overrides)[0]["modes"]
    rules = sorted(f"{rule} ({mode})" for rule, mode in modes.items() if mode != "enforce")
    return f"{place}, mode {policy.mode}, not enforced: {', '.join(rules) or 'none'}{decides}"


def _summary(config: Config) -> dict[str, str]:
    """What would run, one line each; no secret is in any of it."""
    from gateway.mount.fitness import summarise_runs  # imported only here, as is the server

    budgets = (
        f"{f'each {row.per} of ' if row.per else ''}{row.account}: {limit_text(row).removeprefix('the ')}"
        f"{', strict' if row.strict else ''}"
        for row in config.budgets
    )
    fuses = (
        f"{scope}: {', '.join(limits)}"
        for scope, limits in (
            ("agent", config.fuses.agent),
            ("session", config.fuses.session),
            ("run", config.fuses.run),
            ("user", config.fuses.user),
        )
        if limits
    )
    return {
        "listens on": f"{config.listen.host}:{config.listen.port}",
        "metrics on": f"{config.metrics.host}:{config.metrics.port}",
        "store": config.store.url,
        "policies": _policies(config.policy),
        "org": f"{config.org.id}, {len(config.org.teams)} teams",
        "credentials": f"{len(config.identity.credentials)} in the configuration",
        "upstreams": "; ".join(f"{row.id} ({row.backend})" for row in config.upstreams),
        "routes": "; ".join(_route_line(route) for route in config.routes),
        "budgets": "; ".join(budgets) or "none",
        "fuses": "; ".join(fuses) or "none",
        "audit": config.audit.path,
        **summarise_runs(config),
    }


def _route_line(route: Route) -> str:
    weighted = (f"{name} x{route.weights[name]}" if name in route.weights else name for name in route.upstreams)
    principals = f" for {', '.join(route.principals)}" if route.principals else ""
    return f"{', '.join(route.models)}{principals} -> {', '.join(weighted)}"


def _print_findings(kind: str, findings: list[Problem] | tuple[Problem, ...]) -> None:
    for finding in findings:
        suggestion = f"\n    {finding.suggestion}" if finding.suggestion else ""
        print(f"{kind}: {finding.place}: {finding.message}{suggestion}")
