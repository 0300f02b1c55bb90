package ringfence.rules.spawn.limits_test

import data.ringfence.rules.spawn.limits

ask(via, depth, agents) := {"action": {"kind": "spawn", "via": via, "agent_type": null}, "lineage": {"depth": depth}, "meters": {"session": {"agents": agents, "active_agents": 0}}}

test_first_agent_passes if count(limits.violations) == 0 with input as ask("first_request", 0, 0)

test_unknown_count_refused if {
	count(limits.violations) == 1 with input as {"action": {"kind": "spawn", "via": "tool_use"}, "lineage": {"depth": 0}, "meters": {}}
}

test_type_that_is_not_told_is_unknown if limits.agent_type == "unknown" with input as ask("first_request", 1, 0)

test_asked_for_agent_is_deeper if limits.depth == 4 with input as ask("tool_use", 3, 0)

test_deepest_agent_passes if count(limits.violations) == 0 with input as ask("first_request", 4, 0)

of_run(via, meters) := {"action": {"kind": "spawn", "via": via, "agent_type": null}, "lineage": {"depth": 1}, "meters": {"session": {"agents": 500, "active_agents": 0}, "run": meters}}

test_agent_of_run_is_held_to_the_runs_limits if count(limits.violations) == 0 with input as of_run("runtime", {"agents": 500, "active_agents": 3})

test_agent_that_came_by_itself_is_held_to_the_sessions if count(limits.violations) == 1 with input as of_run("first_request", {"agents": 500, "active_agents": 3})

test_run_that_nobody_counted_is_held_to_the_sessions if count(limits.violations) == 1 with input as of_run("runtime", {"agents": 500})
