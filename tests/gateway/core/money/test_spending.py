"""What an ended request counts on every meter."""

from gateway.core.money.limits import Amounts
from gateway.core.money.spending import spent_amounts
from gateway.core.wire.usage import Iteration, Tokens, Usage

TOKENS = Tokens(input=1, output=20, cache_read=300, cache_write_5m=4_000, cache_write_1h=50_000)


def test_every_kind_of_token_counts_and_the_request_runs_no_longer() -> None:
    assert spent_amounts(Usage(tokens=TOKENS), 7) == Amounts(7, 1, 20, 54_321, 0)


def test_passes_count_instead_of_the_sum_that_leaves_some_out() -> None:
    passes = (Iteration(Tokens(input=5, output=6)), Iteration(Tokens(input=100, output=40)))
    assert spent_amounts(Usage(tokens=TOKENS, iterations=passes), 7) == Amounts(7, 1, 46, 151, 0)


def test_empty_refusal_is_a_request_without_tokens() -> None:
    assert spent_amounts(Usage(tokens=TOKENS, refused_empty=True), 0) == Amounts(0, 1, 0, 0, 0)
