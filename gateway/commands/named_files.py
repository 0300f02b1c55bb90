"""The price and scenario files that a configuration names: are they usable? Policies are `checking.py`'s."""

import time

import yaml

from gateway.config import Config, Problem
from gateway.core.money.prices import PricesInvalid
from gateway.ground import load_prices
from gateway.upstreams.simulation.reading import load_scenario
from gateway.upstreams.simulation.scenario import ScenarioInvalid


def file_problems(config: Config) -> list[Problem]:
    """What is wrong with the price and scenario files that the configuration names."""
    found: list[Problem] = []
    try:
        prices = load_prices(config)
        fallback = config.prices.fallback_model
        if fallback is not None and prices.find(fallback, time.time_ns() // 1_000_000) is None:
            message = f"prices.fallback_model: {fallback} has no price itself"
            found.append(Problem("prices.fallback_model", message, "name a model of the price table"))
    except PricesInvalid as invalid:
        found += [Problem(str(config.prices.path), problem, "mend the price file") for problem in invalid.problems]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        found.append(Problem(str(config.prices.path), f"not readable as prices: {error}", "mend the price file"))
    for upstream in config.upstreams:
        if upstream.backend == "simulated" and upstream.scenario is not None:
            try:
                load_scenario(upstream.scenario)
            except ScenarioInvalid as invalid:
                found += invalid.problems
    return found
