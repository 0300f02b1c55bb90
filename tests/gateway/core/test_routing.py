"""Which upstreams serve a model."""

from gateway.core.routing import Route, resolve_alias, select_upstreams

ROUTES = [Route(("claude-haiku-*",), ("cheap",)), Route(("claude-*", "local"), ("main", "spare"))]


def test_first_matching_route_wins() -> None:
    assert select_upstreams(ROUTES, "claude-haiku-5-5") == ("cheap",)
    assert select_upstreams(ROUTES, "local") == ("main", "spare")


def test_unrouted_model_has_no_upstream() -> None:
    assert select_upstreams(ROUTES, "gpt-9") == ()


def test_alias_resolves_once() -> None:
    assert resolve_alias({"fast": "claude-haiku-5-5"}, "fast") == "claude-haiku-5-5"
    assert resolve_alias({}, "claude-opus-5-5") == "claude-opus-5-5"
