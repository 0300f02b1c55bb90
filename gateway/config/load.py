"""From file to `Config`: every section, then what sections say of each other. All problems at once, or a Config."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from gateway.config.approvals import read_approvals
from gateway.config.budgets import check_budgets, read_budget, report_unmatched
from gateway.config.document import CONFIG_BYTES_MAX, Problem, Source, parse_document
from gateway.config.fuses import read_fuses
from gateway.config.model import (
    Config,
    CredentialConfig,
    Identity,
    Listen,
    Org,
    Policy,
    Prices,
    Route,
    Team,
    UpstreamConfig,
)
from gateway.config.policy import read_policy
from gateway.config.runs import read_runs
from gateway.config.sections import (
    Placed,
    read_audit,
    read_credentials,
    read_listen,
    read_org,
    read_prices,
    read_store,
)
from gateway.config.upstreams import read_route, read_upstream
from gateway.config.values import Table, closest, is_loopback, nearest, shown
from gateway.core.bridging.capabilities import parse_capabilities


class ConfigInvalid(Exception):
    """The configuration cannot be used; `problems` is all of it, in the order of the file.

    `policy` is the policy section as far as it could be read, so that policies can be checked in the same go.
    """

    def __init__(self, problems: Sequence[Problem], policy: Policy | None = None) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.policy = policy


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read, check and freeze the file at `path`; `${NAME}` is looked up in `environ`.

    Raises:
        ConfigInvalid: with every problem, also when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigInvalid([Problem(str(path), f"cannot be read: {cause}", "name the file with --config")]) from None
    if len(content) > CONFIG_BYTES_MAX:
        raise ConfigInvalid([Problem(str(path), f"larger than {CONFIG_BYTES_MAX} bytes", "is it the right file?")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigInvalid([Problem(f"{path}:{line}", "not UTF-8 text", "save the file as UTF-8")]) from None
    return parse_config(text, path, environ)


def parse_config(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """As `load_config`, from text that stands for the file at `path`."""
    source = Source(path.absolute(), environ)
    root_entry = parse_document(text, source)
    config = None if root_entry is None else _read_root(Table(root_entry), source)
    if config is None or source.problems:
        policy = None if config is None else config.policy
        raise ConfigInvalid(sorted(source.problems, key=_position), policy)
    return config


def _position(problem: Problem) -> tuple[int, ...]:
    """Line and column of a problem: people mend a file from top to bottom, whatever order it was checked in."""
    return tuple(int(part) for part in problem.place.rsplit(":", 2)[1:] if part.isdecimal())


def _read_root(root: Table, source: Source) -> Config:
    listen = read_listen(root.table("listen"), Listen(), drains=True)
    metrics = read_listen(root.table("metrics"), Listen(port=9464), drains=False)
    store, policy = read_store(root), read_policy(root.table("policy"))
    org_id, zone, teams = read_org(root.table("org"))
    credentials = read_credentials(root.table("identity"))
    upstreams = [Placed(read_upstream(table), table) for table in root.tables("upstreams")]
    routes = [Placed(read_route(table), table) for table in root.tables("routes")]
    aliases = root.text_mapping("aliases")
    budgets = [read_budget(table, number) for number, table in enumerate(root.tables("budgets"))]
    fuses, audit = read_fuses(root.table("fuses")), read_audit(root.table("audit"))
    prices, approvals = read_prices(root.table("prices")), read_approvals(root.table("approvals"))
    runs = read_runs(root.table("runs"))
    root.done()
    _check_listen(root, listen, metrics, credentials)
    _check_teams(teams)
    _check_credentials(credentials, teams)
    _check_upstreams(root, upstreams, routes)
    _check_capabilities(upstreams)
    known = _known_accounts(teams, credentials)
    _check_principals(routes, known)
    check_budgets(budgets, known, sorted({upstream.value.backend for upstream in upstreams}))
    served = _routes(root, routes, upstreams)
    _check_fallback(root, prices, served, upstreams)
    return Config(
        listen=listen,
        metrics=metrics,
        store=store,
        policy=policy,
        org=Org(org_id, tuple(team.value for team in teams), zone),
        identity=Identity(tuple(credential.value for credential in credentials)),
        upstreams=tuple(upstream.value for upstream in upstreams),
        routes=served,
        aliases=aliases,
        budgets=tuple(budget.value for budget in budgets),
        fuses=fuses,
        approvals=approvals,
        runs=runs,
        audit=audit,
        prices=prices,
        warnings=tuple(source.warnings),
    )


def _routes(root: Table, routes: list[Placed[Route]], upstreams: list[Placed[UpstreamConfig]]) -> tuple[Route, ...]:
    """Without a `routes` key every model may go to every upstream, in the order of the file."""
    if root.find("routes") is None:
        return (Route(("*",), tuple(upstream.value.id for upstream in upstreams)),)
    if not routes:
        root.place_of("routes").problem("routes is empty: no model could be reached", "remove it, or add a route")
    return tuple(route.value for route in routes)


def _check_fallback(
    root: Table, prices: Prices, routes: tuple[Route, ...], upstreams: list[Placed[UpstreamConfig]]
) -> None:
    """Clients of a cloud name models freely, and it serves whatever the gateway's role may use."""
    reached = {upstream for route in routes if "*" in route.models for upstream in route.upstreams}
    clouds = [each.value.id for each in upstreams if each.value.backend in ("bedrock", "vertex")]
    if prices.fallback_model is not None and not reached.isdisjoint(clouds):
        place = root.place_of("prices")
        message = 'prices.fallback_model with a route for "*" lets clients use every model that the cloud lets us use'
        place.warning(message, "name models in the route, or keep to models that have a price")


def _check_listen(root: Table, listen: Listen, metrics: Listen, credentials: list[Placed[CredentialConfig]]) -> None:
    place = root.place_of("listen")
    if not is_loopback(listen.host) and not credentials:
        suggestion = "add identity.credentials, or listen on 127.0.0.1"
        place.problem(
            f"listen.host {listen.host} is reachable from outside and no credential is configured", suggestion
        )
    if listen.port != 0 and (listen.host, listen.port) == (metrics.host, metrics.port):
        place.problem(f"listen and metrics are both {listen.host}:{listen.port}", "give metrics a port of its own")


def _check_teams(teams: list[Placed[Team]]) -> None:
    _check_unique([(team.value.id, team.table) for team in teams], "team")
    team_of: dict[str, str] = {}
    for team in teams:
        for user in team.value.users:
            if team_of.setdefault(user, team.value.id) != team.value.id:
                message = f"user {user} is in team {team_of[user]} and in team {team.value.id}"
                team.table.place_of("users").problem(message, "a user's cost is one team's: keep one of the two")


def _check_credentials(credentials: list[Placed[CredentialConfig]], teams: list[Placed[Team]]) -> None:
    _check_unique([(credential.value.id, credential.table) for credential in credentials], "credential")
    team_ids = [team.value.id for team in teams]
    holder: dict[str, str] = {}
    for credential in credentials:
        team, secret = credential.value.team, credential.value.secret.reveal()
        if team and team not in team_ids:
            place = credential.table.place_of("team")
            place.problem(
                f"{place.name} names the unknown team {shown(place)}", closest(team, team_ids) or "add it to org.teams"
            )
        if secret and holder.setdefault(secret, credential.value.id) != credential.value.id:
            place = credential.table.place_of("secret")
            message = f"credentials {holder[secret]} and {credential.value.id} have the same secret"
            place.problem(message, "give each its own, or nobody can tell which was used")


def _check_upstreams(root: Table, upstreams: list[Placed[UpstreamConfig]], routes: list[Placed[Route]]) -> None:
    if not upstreams:
        suggestion = 'add upstreams: [{id: claude, backend: anthropic, api_key: "${ANTHROPIC_API_KEY}"}]'
        root.place_of("upstreams").problem("no upstream is configured", suggestion)
    _check_unique([(upstream.value.id, upstream.table) for upstream in upstreams], "upstream")
    known = [upstream.value.id for upstream in upstreams if upstream.value.id]
    for route in routes:
        for name in route.value.upstreams:
            if name not in known:
                place = route.table.place_of_text("upstreams", name)
                place.problem(f"{place.name} names the unknown upstream {shown(place)}", closest(name, known))


def _check_capabilities(upstreams: list[Placed[UpstreamConfig]]) -> None:
    """A mistyped feature would be an override that never holds."""
    if not any(upstream.value.capabilities for upstream in upstreams):
        return
    known = known_features()
    for upstream in upstreams:
        for feature, entry in upstream.table.mapping("capabilities").items():
            if feature not in known:
                match = nearest(feature, known)
                suggestion = f"did you mean {match}?" if match else "docs/backends.md names every feature"
                entry.key_problem(f"{entry.name}: there is no feature {feature!r}", suggestion)


@cache
def known_features() -> tuple[str, ...]:
    """The features of the packaged capability table."""
    table = resources.files("gateway").joinpath("capabilities.yaml").read_text("utf-8")
    return tuple(feature.id for feature in parse_capabilities(yaml.safe_load(table)).features)


def _known_accounts(teams: list[Placed[Team]], credentials: list[Placed[CredentialConfig]]) -> Mapping[str, list[str]]:
    users = {user for team in teams for user in team.value.users} | {row.value.user for row in credentials}
    return {
        "team": sorted(team.value.id for team in teams),
        "user": sorted(users),
        "credential": sorted(row.value.id for row in credentials),
    }


def _check_principals(routes: list[Placed[Route]], known: Mapping[str, list[str]]) -> None:
    """Where nothing of a kind is configured, all of it comes from the store, which is not read here."""
    for route in routes:
        for principal in route.value.principals:
            kind, _, name = principal.partition(":")
            if known.get(kind) and name not in known[kind]:
                report_unmatched(route.table.place_of_text("principals", principal), kind, name, known[kind])


def _check_unique(rows: list[tuple[str, Table]], kind: str) -> None:
    first: dict[str, Table] = {}
    for name, table in rows:
        if name and first.setdefault(name, table) is not table:
            entry = table.place_of("id")
            entry.problem(f"{kind} {name} is configured twice", "ids are unique: rename one")
