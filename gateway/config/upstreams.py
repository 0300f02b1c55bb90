"""What an upstream and a route may say: the keys of each backend, their defaults and limits.

No cloud library is imported and nothing is looked up here. What upstreams and routes say of each other: `load.py`.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from urllib.parse import urlsplit

from gateway.config.backends import BACKENDS, Backend
from gateway.config.document import Entry
from gateway.config.model import BreakerConfig, Route, UpstreamConfig
from gateway.config.sections import read_id
from gateway.config.values import (
    Table,
    closest,
    is_loopback,
    nearest,
    read_flag,
    read_integer,
    read_number,
    read_text,
    read_texts,
    shown,
)
from gateway.core.money.prices import UNIT

CREDENTIAL_KEYS = ("api_key", "bearer")
PROFILES = ("us", "eu", "jp", "au", "apac", "global", "us-gov")
"""Prefixes of Bedrock's inference profiles known today; another one is a warning, since regions are added."""
PRICE_MULTIPLIER_MAX = 100
CONCURRENT_MAX = 10_000
BREAKER_FAILURES_MAX = 1000
WEIGHT_MAX = 1000
BETA_ACTIONS = ("keep", "drop")
PRINCIPAL_KINDS = ("team:x", "user:x", "credential:x", "group:x", "tag:name=value")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_NAMES = {
    "region": (_WORD, "letters, digits and - only"),
    "resource": (_WORD, "letters, digits and - only: the first part of the host name"),
    "profile": (_WORD, "letters, digits and - only"),
    "project": (re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,127}"), "letters, digits and . : - only"),
    "workspace": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"), "letters, digits and _ - only"),
}
"""Parts of a host name, path or header: no character may end or lengthen the part it stands in."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,2047}")
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DATED_BETA = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,126}[0-9]")
_PRINCIPAL = re.compile(r"(team|user|credential|group):.+|tag:[^=]+=.+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def read_upstream(table: Table) -> UpstreamConfig:
    """`{id, backend, ...}`. What a key means to which backend: `backends.py`."""
    problems = table.entry.source.problems
    before = len(problems)
    name = table.choice("backend", tuple(BACKENDS), None)
    backend = BACKENDS[name] if len(problems) == before else None
    queue_seconds = table.seconds("queue_seconds", 30.0)
    upstream = UpstreamConfig(
        id=read_id(table, "id"),
        backend=name,
        base_url=_read_base_url(table) or BACKENDS[name].base_url,
        api_key=table.secret("api_key"),
        bearer=table.secret("bearer"),
        region=_read_name(table, "region"),
        project=_read_name(table, "project"),
        resource=_read_name(table, "resource"),
        workspace=_read_name(table, "workspace"),
        profile=_read_name(table, "profile"),
        models=_read_models(table.mapping("models")),
        capabilities=_read_capabilities(table.mapping("capabilities")),
        betas=_read_betas(table.mapping("betas")),
        price_multiplier=_read_multiplier(table.find("price_multiplier")),
        concurrent_max=_read_concurrent_max(table),
        queue_seconds=queue_seconds,
        count_tokens=table.flag("count_tokens", False),
        breaker=_read_breaker(table.table("breaker")),
        scenario=table.path("scenario"),
        headers=_read_headers(table.mapping("headers")),
        connect_timeout_seconds=table.seconds("connect_timeout_seconds", 10.0),
        read_timeout_seconds=table.seconds("read_timeout_seconds", 600.0),
    )
    table.done()
    if backend is not None:
        _check_keys(upstream, backend, table)
    return upstream


def _check_keys(upstream: UpstreamConfig, backend: Backend, table: Table) -> None:
    entry, name = table.entry, upstream.backend
    specific = sorted({key for row in BACKENDS.values() for key in row.keys})
    for key in specific:
        if table.find(key) is not None and key not in backend.keys:
            takers = ", ".join(other for other, row in BACKENDS.items() if key in row.keys)
            suggestion = f"remove it: {key} is for {takers}"
            table.place_of(key).problem(f"{entry.name}.{key} means nothing to the {name} backend", suggestion)
    for key in backend.required:
        if table.find(key) is None:
            entry.problem(f"{entry.name} has no {key}, which the {name} backend needs", f"add {key}: ...")
    if backend.one_of and sum(table.find(key) is not None for key in backend.one_of) != 1:
        needed = " and ".join(backend.one_of)
        entry.problem(f"{entry.name} needs one of {needed}", "write exactly one of the two")
    if all(table.find(key) is not None and key in backend.keys for key in CREDENTIAL_KEYS):
        suggestion = "keep the one the upstream expects"
        table.place_of("bearer").problem(f"{entry.name} has both api_key and bearer", suggestion)
    if upstream.scenario is not None and upstream.scenario.suffix and not upstream.scenario.is_file():
        place = table.place_of("scenario")
        place.problem(f"{entry.name}.scenario: {upstream.scenario} is not a file", "check the path")
    _warn(upstream, backend, table)


def _warn(upstream: UpstreamConfig, backend: Backend, table: Table) -> None:
    """Of what can be served but was probably not meant. A backend with a library finds its cloud's credentials."""
    entry = table.entry
    shows_credential = any(key in backend.keys for key in CREDENTIAL_KEYS)
    if shows_credential and backend.library is None and all(table.find(key) is None for key in CREDENTIAL_KEYS):
        suggestion = 'add api_key: "${ANTHROPIC_API_KEY}"'
        entry.warning(f"{entry.name} has no credential: the upstream will refuse what needs one", suggestion)
    if upstream.profile and upstream.profile not in PROFILES:
        place = table.place_of("profile")
        place.warning(f"{place.name} {shown(place)} is no known prefix", closest(upstream.profile, PROFILES))
    if table.find("queue_seconds") is not None and upstream.concurrent_max is None:
        place = table.place_of("queue_seconds")
        place.warning(f"{place.name} has no effect without concurrent_max", "add concurrent_max, or remove it")


def _read_name(table: Table, key: str) -> str | None:
    found = table.text(key)
    pattern, allowed = _NAMES[key]
    if found and not pattern.fullmatch(found):
        place = table.place_of(key)
        place.problem(f"{place.name} is {shown(place)}", allowed)
    return found


def _read_models(entries: Mapping[str, Entry]) -> Mapping[str, str]:
    models: dict[str, str] = {}
    for model, entry in entries.items():
        if not _MODEL.fullmatch(model):
            entry.key_problem(f"{entry.name}: {model!r} is no model id", "a whole id; globs belong in routes")
        models[model] = read_text(entry)
        if models[model] and not _MODEL.fullmatch(models[model]):
            suggestion = "a model id, deployment name or ARN: letters, digits and . _ : / @ + -"
            entry.problem(f"{entry.name} is {shown(entry)}", suggestion)
    return MappingProxyType(models)


def _read_capabilities(entries: Mapping[str, Entry]) -> Mapping[str, bool | tuple[str, ...]]:
    cells: dict[str, bool | tuple[str, ...]] = {}
    for feature, entry in entries.items():
        if not entry.is_list:
            cells[feature] = read_flag(entry)
            continue
        cells[feature] = read_texts(entry)
        if not entry.elements():
            entry.problem(f"{entry.name} names no model", "write false, or globs of models")
    return MappingProxyType(cells)


def _read_betas(entries: Mapping[str, Entry]) -> Mapping[str, str]:
    """A new name ends in its date, so that a mistyped `drop` is not taken for one."""
    betas: dict[str, str] = {}
    for beta, entry in entries.items():
        if not _BETA.fullmatch(beta):
            entry.key_problem(f"{entry.name}: {beta!r} is no beta name", "letters, digits and . _ - only")
        betas[beta] = read_text(entry)
        if betas[beta] and betas[beta] not in BETA_ACTIONS and not _DATED_BETA.fullmatch(betas[beta]):
            action = nearest(betas[beta], BETA_ACTIONS)
            suggestion = f"did you mean {action}?" if action else "keep, drop, or the name it has here, with its date"
            entry.problem(f"{entry.name} is {shown(entry)}", suggestion)
    return MappingProxyType(betas)


def _read_multiplier(entry: Entry | None) -> int | None:
    """Ten-thousandths, exactly: a finer factor is a problem, not rounded."""
    number = None if entry is None else read_number(entry)
    if entry is None or number is None:
        return None
    units = Fraction(number) * UNIT
    if not 0 < number <= PRICE_MULTIPLIER_MAX or units.denominator != 1:
        suggestion = f"above 0, at most {PRICE_MULTIPLIER_MAX}, with at most four decimals"
        entry.problem(f"{entry.name} is {shown(entry)}", suggestion)
        return UNIT
    return int(units)


def _read_concurrent_max(table: Table) -> int | None:
    entry = table.find("concurrent_max")
    return None if entry is None else read_integer(entry, low=1, high=CONCURRENT_MAX)


def _read_breaker(table: Table | None) -> BreakerConfig:
    default = BreakerConfig()
    if table is None:
        return default
    breaker = BreakerConfig(
        failures=table.integer("failures", default.failures, low=1, high=BREAKER_FAILURES_MAX),
        open_seconds=table.seconds("open_seconds", default.open_seconds),
    )
    table.done()
    return breaker


def _read_base_url(table: Table) -> str | None:
    url = table.text("base_url")
    if not url:
        return None
    place = table.place_of("base_url")
    suggestion = "https://host[:port][/path], without credentials, query or fragment"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        place.problem(f"{place.name} is not a URL", suggestion)
        return None
    if not usable or not url.isascii() or not url.isprintable() or any(mark in url for mark in " @?#\\"):
        place.problem(f"{place.name} is not a usable URL", suggestion)
    elif parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        place.warning(f"{place.name} is not encrypted: credentials and prompts cross the network in clear", "use https")
    return url.rstrip("/")


def _read_headers(entries: Mapping[str, Entry]) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for name, entry in entries.items():
        value = read_text(entry)
        if not _HEADER_NAME.fullmatch(name):
            entry.problem(f"{entry.name}: {name!r} is not a header name", "letters, digits and - only")
        if not value.isascii() or not value.replace("\t", " ").isprintable():
            entry.problem(f"{entry.name} has characters that a header cannot carry", "printable ASCII")
        headers.append((name, value))
    return tuple(headers)


def read_route(table: Table) -> Route:
    """`{models, upstreams, weights, principals}`. Left out, `principals` is everyone; an empty list is a problem."""
    weights = table.mapping("weights")
    route = Route(
        models=table.texts("models"),
        upstreams=table.texts("upstreams"),
        weights=MappingProxyType(
            {name: read_integer(entry, low=1, high=WEIGHT_MAX) for name, entry in weights.items()}
        ),
        principals=_read_principals(table),
    )
    for key, found in (("models", route.models), ("upstreams", route.upstreams)):
        if not found:
            table.place_of(key).problem(f"{table.entry.name}.{key} names nothing", f"add {key}: [...]")
    for name, entry in weights.items():
        if name not in route.upstreams:
            message = f"{table.entry.name}.weights names {name!r}, which is not among its upstreams"
            entry.key_problem(message, closest(name, route.upstreams))
    table.done()
    return route


def _read_principals(table: Table) -> tuple[str, ...]:
    entry = table.find("principals")
    if entry is None:
        return ()
    if entry.is_list and not entry.elements():
        entry.problem(f"{entry.name} names nobody", "remove the key for a route that is for everyone")
    principals = table.texts("principals")
    for principal in principals:
        if not _PRINCIPAL.fullmatch(principal):
            place = table.place_of_text("principals", principal)
            place.problem(f"{place.name} {shown(place)} is no principal", "one of: " + ", ".join(PRINCIPAL_KINDS))
    return principals
