"""Which headers travel."""

from gateway.core.wire.headers import clean_headers, downstream_headers, first, upstream_headers


def test_credentials_and_own_headers_never_reach_the_upstream() -> None:
    sent = [("X-Api-Key", "s"), ("Authorization", "Bearer s"), ("Cookie", "c"), ("x-ringfence-session-id", "1")]
    assert upstream_headers(sent) == [("Accept-Encoding", "identity")]


def test_everything_else_keeps_case_order_and_repeats() -> None:
    sent = [("anthropic-beta", "a"), ("X-Claude-Code-Session-Id", "u"), ("Anthropic-Beta", "b"), ("x-new", "1")]
    assert upstream_headers(sent)[:-1] == sent


def test_headers_named_by_connection_stay_here() -> None:
    sent = [("Connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("x-kept", "2")]
    assert upstream_headers(sent)[:-1] == [("x-kept", "2")]


def test_answers_lose_only_framing_cookies_and_the_upstreams_address() -> None:
    own = [
        ("Content-Length", "3"),
        ("Set-Cookie", "a"),
        ("Alt-Svc", "h3"),
        ("Location", "/"),
        ("X-Ringfence-Decision", "d"),
    ]
    kept = [("retry-after", "5"), ("request-id", "req_1"), ("x-new", "1")]
    assert downstream_headers(own + kept) == kept


def test_headers_that_choose_a_price_stay_here() -> None:
    sent = [("X-Amzn-Bedrock-Service-Tier", "priority"), ("X-Amzn-Bedrock-Trace", "ENABLED")]
    assert upstream_headers(sent)[:-1] == sent[1:]


def test_first_value_is_found_in_any_case() -> None:
    assert (first([("A", "1"), ("a", "2")], "a"), first([], "a")) == ("1", None)


def test_headers_that_name_an_account_are_left_out() -> None:
    got = [
        ("request-id", "req_1"),
        ("x-profile", "arn:aws:bedrock:us-east-1:123456789012:x/y"),
        ("x-amzn-requestid", "6f1d"),
    ]
    assert clean_headers(got) == [got[0], got[2]]
