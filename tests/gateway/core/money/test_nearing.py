"""What an agent is told when money for its work runs low."""

from dataclasses import replace

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow
from gateway.core.money.nearing import nearing

USD = 1_000_000_000
ROW = LimitRow(account="run", max=100 * USD, warn_at=(50, 80))


def view(used_usd: int, row: LimitRow = ROW, account: str = "run:wf_1") -> LimitView:
    return LimitView(row.series(account), row, used_usd * USD, 0, None)


def test_used_past_a_threshold_the_agent_is_told_the_highest_one_that_is_reached():
    assert nearing([view(85)]) == [
        "80 % of this run's budget of $100.00 is used; finish up: complete what is begun, start nothing new, and say "
        "what is left undone."
    ]
    assert nearing([view(60)])[0].startswith("50 % of this run's budget")


def test_between_two_thresholds_the_sentence_stays_the_same():
    assert nearing([view(80)]) == nearing([view(99)])


def test_below_every_threshold_nothing_is_told():
    assert nearing([view(49)]) == []


def test_a_budget_that_is_not_the_agents_own_is_not_its_business():
    assert nearing([view(99, account="org"), view(99, account="user:alice"), view(99, account="team:x")]) == []


def test_a_limit_that_counts_something_else_than_cost_is_not_told():
    assert nearing([view(99, replace(ROW, meter="requests"))]) == []
