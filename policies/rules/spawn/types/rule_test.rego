package ringfence.rules.spawn.types_test

import data.ringfence.rules.spawn.types

ask(parent, type) := {
	"action": {"kind": "spawn", "via": "tool_use", "parent_type": parent, "agent_type": type},
	"principal": {"user": "u", "groups": ["g", "h"], "team": null},
}

test_nothing_set_refuses_nothing if count(types.violations) == 0 with input as ask(null, null)

test_star_counts_for_types_without_a_list if {
	count(types.violations) == 1 with input as ask("Explore", "Plan")
		with data.ringfence.settings.spawn.types.parents as {"*": [], "main": ["*"]}
}

test_parent_that_is_not_known_is_refused if {
	count(types.violations) == 1 with input as ask(null, "Plan")
		with data.ringfence.settings.spawn.types.parents as {"main": ["*"]}
}

test_parent_that_is_not_known_can_have_a_list if {
	count(types.violations) == 0 with input as ask(null, "Plan")
		with data.ringfence.settings.spawn.types.parents as {"unknown": ["Plan"]}
}

test_one_group_is_enough if {
	count(types.violations) == 0 with input as ask("main", "Plan")
		with data.ringfence.settings.spawn.types.groups as {"g": ["Explore"], "h": ["Pl*"]}
}

test_list_of_the_user_counts_first if {
	count(types.violations) == 1 with input as ask("main", "Plan")
		with data.ringfence.settings.spawn.types.groups as {"h": ["Plan"]}
		with data.ringfence.settings.spawn.types.users as {"u": []}
}
