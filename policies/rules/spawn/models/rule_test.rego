package ringfence.rules.spawn.models_test

import data.ringfence.rules.spawn.models

infer(depth, type) := {"action": {"kind": "infer", "model": "claude-opus-x"}, "lineage": {"depth": depth, "agent_type": type}}

spawn(via, type, model) := {"action": {"kind": "spawn", "via": via, "agent_type": type, "model": model}, "lineage": {"depth": 1}}

moved := {"Explore": "claude-haiku-x", "*": "claude-sonnet-x"}

test_nothing_set_says_nothing if {
	count(models.violations) + count(models.obligations) == 0 with input as infer(1, "Explore")
}

test_type_has_its_route if {
	models.obligations == {{"kind": "set_model", "value": "claude-haiku-x"}} with input as infer(1, "Explore")
		with data.ringfence.settings.spawn.models.route as moved
}

test_type_that_is_not_told_has_the_route_of_all if {
	models.obligations == {{"kind": "set_model", "value": "claude-sonnet-x"}} with input as infer(2, null)
		with data.ringfence.settings.spawn.models.route as moved
}

test_main_agent_is_not_moved if {
	count(models.obligations) == 0 with input as infer(0, null)
		with data.ringfence.settings.spawn.models.route as moved
}

test_call_that_asks_is_not_moved if {
	count(models.obligations) == 0 with input as spawn("tool_use", "Explore", "opus")
		with data.ringfence.settings.spawn.models.route as moved
}

test_model_that_is_moved_away_is_not_refused if {
	count(models.violations) == 0 with input as spawn("first_request", "Explore", "claude-opus-x")
		with data.ringfence.settings.spawn.models as {"route": moved, "allow": {"Explore": ["claude-haiku-*"]}}
}
