"""What the policy section may say: which engine decides, where its policies come from, what is logged of decisions.

Not whether the policies can be used: `gateway/policy` checks that.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args
from urllib.parse import urlsplit

from gateway.config.document import Entry
from gateway.config.model import DecisionLog, Engine, Policy, PolicyBundle, PolicyMode, RuleMode
from gateway.config.values import Table, closest, is_loopback, read_any, read_text, shown

OPA_URL = "http://127.0.0.1:8181"
TIMEOUT_MS_MAX = 60_000
OPA_KEYS = ("url", "token", "timeout_ms", "push")
LAID_KEYS = ("path", "bundle", "mode", "rules", "settings")
"""What says which policies decide, and with which settings."""

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@{}~^+-]{0,199}")
_FOLDER = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_POINTER = re.compile(r"/(input|result)(/[^/]+)*")


def read_policy(table: Table | None) -> Policy:
    """`{engine, url, token, timeout_ms, push, path, bundle, mode, rules, settings, decision_log}`.

    Whether rules and settings exist is checked with the policies.
    """
    if table is None:
        return Policy()
    engine: Engine = table.choice("engine", get_args(Engine), "embedded")
    path = table.path("path")
    if path is not None and not path.is_dir():
        table.place_of("path").problem(f"policy.path: {path} is not a folder", "name the folder that holds main.rego")
    policy = Policy(
        engine=engine,
        url=_read_server(table) or (OPA_URL if engine == "opa" else None),
        token=table.secret("token"),
        timeout_ms=table.integer("timeout_ms", Policy().timeout_ms, low=1, high=TIMEOUT_MS_MAX),
        push=table.flag("push", True),
        path=path,
        bundle=_read_bundle(table.table("bundle")),
        mode=table.choice("mode", get_args(PolicyMode), "enforce"),
        rules=_read_rules(table),
        settings=_read_settings(table),
        decision_log=_read_decision_log(table.table("decision_log")),
    )
    table.done()
    _check_keys(policy, table)
    return policy


def _read_rules(table: Table) -> Mapping[str, RuleMode]:
    rules: dict[str, RuleMode] = {}
    for rule, entry in table.mapping("rules").items():
        chosen = read_text(entry)
        for choice in get_args(RuleMode):
            if chosen == choice:
                rules[rule] = choice
        if chosen and rule not in rules:
            entry.problem(f"{entry.name} is {shown(entry)}", closest(chosen, get_args(RuleMode)))
    return MappingProxyType(rules)


def _read_settings(table: Table) -> Mapping[str, object]:
    settings = {name: read_any(entry) for name, entry in table.mapping("settings").items()}
    for name, instead in (("mode", "policy.mode"), ("modes", "policy.rules")):
        if name in settings:
            table.place_of("settings").problem(f"policy.settings.{name} has a key of its own", f"write {instead}")
    return MappingProxyType(settings)


def _read_bundle(table: Table | None) -> PolicyBundle | None:
    """`{url, token}` of a bundle server or `{git, ref, folder}` of a checkout, and `poll_seconds`."""
    if table is None:
        return None
    git = table.path("git")
    bundle = PolicyBundle(
        url=_read_url(table, "url"),
        token=table.secret("token"),
        git=git,
        ref=_matched(table, "ref", _REF) or PolicyBundle().ref,
        folder=_matched(table, "folder", _FOLDER),
        poll_seconds=table.seconds("poll_seconds", PolicyBundle().poll_seconds),
    )
    table.done()
    if git is not None and not git.is_dir():
        place = table.place_of("git")
        place.problem(f"{place.name}: {git} is not a folder", "name the folder of a Git checkout")
    if (bundle.url is None) == (bundle.git is None):
        table.entry.problem(f"{table.entry.name} must have one of url and git", "url: a bundle server, git: a checkout")
    for key, owner in (("token", "url"), ("ref", "git"), ("folder", "git")):
        if table.find(key) is not None and table.find(owner) is None:
            place = table.place_of(key)
            place.key_problem(f"{place.name} goes with {owner}", f"remove it, or name {owner}")
    return bundle


def _read_decision_log(table: Table | None) -> DecisionLog | None:
    """`{path}` of a file or `{url, token}` of a service, `labels`, and what to `erase`."""
    if table is None:
        return None
    path = table.path("path")
    if path is not None and not path.parent.is_dir():
        place = table.place_of("path")
        place.problem(f"{place.name}: the folder {path.parent} does not exist", "create it, or name another")
    log = DecisionLog(
        path=path,
        url=_read_url(table, "url"),
        token=table.secret("token"),
        labels=table.text_mapping("labels"),
        erase=DecisionLog().erase if table.find("erase") is None else table.texts("erase"),
    )
    table.done()
    if (log.path is None) == (log.url is None):
        table.entry.problem(f"{table.entry.name} must have one of path and url", "path: a file, url: a service")
    for pointer in log.erase:
        if not _POINTER.fullmatch(pointer):
            place = table.place_of_text("erase", pointer)
            place.problem(f"{place.name} is {shown(place)}", "a path such as /input/action/input")
    return log


def _check_keys(policy: Policy, table: Table) -> None:
    """Keys that would hold nothing are problems: somebody relies on them."""
    if policy.engine != "opa":
        for key in OPA_KEYS:
            if table.find(key) is not None:
                table.place_of(key).key_problem(
                    f"policy.{key} goes with engine: opa", "remove it, or write engine: opa"
                )
    if policy.engine == "opa" and not policy.push:
        for key in LAID_KEYS:
            if table.find(key) is not None:
                place = table.place_of(key)
                message = f"{place.name} holds nothing with push: false: the OPA server has policies of its own"
                place.key_problem(message, "remove it, and say it in the server's bundle")
    if policy.path is not None and policy.bundle is not None:
        table.place_of("bundle").key_problem("policy.path and policy.bundle name two sets", "keep one of the two")


def _matched(table: Table, key: str, pattern: re.Pattern[str]) -> str:
    found = table.text(key) or ""
    if found and (not pattern.fullmatch(found) or ".." in found):
        place = table.place_of(key)
        place.problem(f"{place.name} is {shown(place)}", "a name as Git has it, without .. and white space")
        return ""
    return found


def _read_server(table: Table) -> str | None:
    url = _read_url(table, "url")
    if url is not None and urlsplit(url).path:
        place = table.place_of("url")
        place.problem(f"{place.name} has a path, under which no OPA server is asked", "https://host[:port]")
    return url


def _read_url(table: Table, key: str) -> str | None:
    url = table.text(key)
    if not url:
        return None
    place = table.place_of(key)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or not url.isascii() or not url.isprintable() or any(mark in url for mark in " @?#\\"):
        place.problem(f"{place.name} is not a usable URL", "https://host[:port][/path], without credentials and query")
        return None
    _check_crossing(place, parts.scheme, parts.hostname or "")
    return url.rstrip("/")


def _check_crossing(place: Entry, scheme: str, host: str) -> None:
    if scheme == "http" and not is_loopback(host):
        message = f"{place.name} is not encrypted: whoever is between can change what is decided and read what is asked"
        place.warning(message, "use https")
