"""Price and scenario files that a configuration names."""

from pathlib import Path

import pytest

from gateway.commands.named_files import file_problems
from gateway.config import Config, Prices, UpstreamConfig


def config(prices: Path | None = None, scenario: Path | None = None) -> Config:
    upstream = UpstreamConfig("sim", "simulated", scenario=scenario)
    return Config(upstreams=(upstream,), routes=(), prices=Prices(prices))


def test_packaged_files_have_no_problem() -> None:
    assert file_problems(config()) == []


@pytest.mark.parametrize("text", ["- a", "a: [", "models: [{id: x, prices: [{input: -1}]}]", "5", "\x00"])
def test_faulty_price_file_is_a_problem_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    found = file_problems(config(prices=tmp_path / "prices.yaml"))
    assert found and all(str(tmp_path / "prices.yaml") in problem.place for problem in found)


def test_faulty_scenario_file_is_a_problem_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("turns: 5")
    found = file_problems(config(scenario=tmp_path / "scenario.yaml"))
    assert found and all(str(tmp_path / "scenario.yaml") in problem.place for problem in found)
