"""Which upstreams serve a request, in which order."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decisions.decision import Principal
from gateway.core.routes.routing import Health, Route, order, resolve_alias, select_route

ROUTES = [Route(("claude-haiku-*",), ("cheap",)), Route(("claude-*", "local"), ("main", "spare"))]
ALICE = Principal("acme", "platform", "alice", "laptop", groups=("staff", "on-call"), tags={"path": "ci", "empty": ""})
IDS = ("a", "b", "c", "d", "e")

weights = st.dictionaries(st.sampled_from(IDS), st.integers(0, 100))
healths = st.fixed_dictionaries({each: st.sampled_from(("usable", "cooling", "open")) for each in IDS})


def ordered(route: Route, session: str = "s", sticky: str | None = None, **health: Health) -> list[str]:
    return order(route, session=session, sticky=sticky, health=lambda upstream: health.get(upstream, "usable"))


def test_first_matching_route_wins() -> None:
    assert select_route(ROUTES, "claude-haiku-5-5", ALICE) is ROUTES[0]
    assert select_route(ROUTES, "local", ALICE) is ROUTES[1]


def test_unrouted_model_has_no_route() -> None:
    assert select_route(ROUTES, "gpt-9", ALICE) is None


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("team:platform", True),
        ("team:alice", False),
        ("user:alice", True),
        ("user:ali", False),
        ("credential:laptop", True),
        ("credential:alice", False),
        ("group:on-call", True),
        ("group:platform", False),
        ("tag:path=ci", True),
        ("tag:path=c", False),
        ("tag:path", False),
        ("tag:none=", False),
        ("tag:empty=", True),
        ("tag:empty", False),
        ("org:acme", False),
        ("alice", False),
        ("", False),
    ],
)
def test_route_for_some_is_for_those_it_names(text: str, matches: bool) -> None:
    mine, everyone = Route(("*",), ("mine",), principals=("user:nobody", text)), Route(("*",), ("all",))
    assert select_route([mine, everyone], "claude-opus-5-5", ALICE) is (mine if matches else everyone)


def test_principal_without_a_team_is_in_no_team() -> None:
    loner = Principal("acme", None, "bob", "desk")
    assert select_route([Route(("*",), ("a",), principals=("team:", "team:None"))], "m", loner) is None


def test_upstreams_without_weights_stand_as_configured_for_every_session() -> None:
    route = Route(("*",), ("main", "spare", "last"))
    assert {tuple(ordered(route, session=f"s{number}")) for number in range(50)} == {("main", "spare", "last")}


def test_own_upstream_of_the_session_comes_first_while_it_is_usable() -> None:
    route = Route(("*",), ("main", "spare", "last"), weights={"main": 100})
    assert ordered(route, sticky="last") == ["last", "main", "spare"]
    assert ordered(route, sticky="last", last="open") == ["main", "spare"]
    assert ordered(route, sticky="last", last="cooling") == ["main", "spare", "last"]


def test_own_upstream_that_is_not_on_the_route_is_not_used() -> None:
    assert ordered(Route(("*",), ("main", "spare")), sticky="gone") == ["main", "spare"]


def test_those_without_a_weight_follow_those_with_one() -> None:
    route = Route(("*",), ("spare", "a", "never", "b"), weights={"a": 1, "b": 1, "never": 0})
    orders = [ordered(route, session=f"s{number}") for number in range(50)]
    assert {tuple(each[:2]) for each in orders} == {("a", "b"), ("b", "a")}
    assert {tuple(each[2:]) for each in orders} == {("spare", "never")}


def test_order_of_a_session_is_the_same_on_every_replica() -> None:
    """With equal weights it is that of `printf 'SESSION\\0ID' | sha256sum`, the greatest first."""
    route = Route(("*",), IDS, weights=dict.fromkeys(IDS, 1))
    assert ordered(route, session="11111111-2222-4333-8444-555555555555") == ["e", "a", "b", "d", "c"]


def test_session_of_any_text_has_an_order() -> None:
    assert sorted(ordered(Route(("*",), ("a", "b"), weights={"a": 1, "b": 1}), session="\udc80\0")) == ["a", "b"]


@pytest.mark.parametrize(
    "shares", [{"a": 3, "b": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 90, "b": 9, "c": 1}, {"a": 1, "b": 10000}]
)
def test_sessions_are_spread_in_proportion_to_the_weights(shares: Mapping[str, int]) -> None:
    count = 20_000
    route = Route(("*",), tuple(shares), weights=shares)
    firsts = Counter(ordered(route, session=f"session-{number}")[0] for number in range(count))
    total = sum(shares.values())
    for upstream, weight in shares.items():
        share = weight / total
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(firsts[upstream] / count - share) < 5 * deviation


@settings(max_examples=200)
@given(weights, st.sampled_from(IDS), st.text())
def test_upstream_that_is_taken_out_moves_only_its_own_sessions(shares: dict[str, int], out: str, session: str) -> None:
    route = Route(("*",), IDS, weights=shares)
    without: dict[str, Health] = {out: "open"}
    whole, rest = ordered(route, session=session), ordered(route, session=session, **without)
    assert [each for each in whole if each != out] == rest


@settings(max_examples=300)
@given(weights, healths, st.none() | st.sampled_from((*IDS, "gone")), st.text())
def test_order_holds_each_upstream_once_and_cooling_ones_last(
    shares: dict[str, int], health: dict[str, Health], sticky: str | None, session: str
) -> None:
    found = ordered(Route(("*",), IDS, weights=shares), session=session, sticky=sticky, **health)
    assert sorted(found) == [each for each in IDS if health[each] != "open"]
    assert [health[each] for each in found] == sorted((health[each] for each in found), reverse=True)
    if sticky is not None and health.get(sticky) == "usable":
        assert found[0] == sticky


def test_alias_resolves_once() -> None:
    assert resolve_alias({"fast": "claude-haiku-5-5"}, "fast") == "claude-haiku-5-5"
    assert resolve_alias({}, "claude-opus-5-5") == "claude-opus-5-5"
