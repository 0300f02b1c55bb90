# The one entry point: data.ringfence.decision. Collects what the rules under rules/ found; holds no rule itself.
# Default deny: allowed only when the query is one we know, complete, and no enforced rule objects.
package ringfence

import data.ringfence.settings

default decision := {
	"allow": false,
	"reasons": [{
		"rule": "engine/query",
		"message": "the query is not of a known kind or lacks a field that rules need; this is a fault of the gateway, report it with the decision id",
	}],
	"shadow": [],
	"obligations": [],
	"limits": [],
}

decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"shadow": shadow,
	"obligations": obligations,
	"limits": limits,
} if {
	well_formed
}

reasons := [{"rule": one.rule, "message": one.message} | some one in found; one.mode == "enforce"]

shadow := [{"rule": one.rule, "message": one.message} | some one in found; one.mode == "shadow"]

# Evaluated once: everything below reads it.
evaluated := data.ringfence.rules

# Only what an enforced rule asks for must be done.
obligations := [one |
	some category, name
	mode(concat("/", [category, name])) == "enforce"
	some one in object.get(evaluated[category][name], "obligations", [])
]

limits := [one |
	some category, name
	mode(concat("/", [category, name])) == "enforce"
	some one in object.get(evaluated[category][name], "limits", [])
]

# A rule is named by its folder, so that its name cannot drift.
found contains {"rule": rule, "message": message, "mode": mode(rule)} if {
	some category, name
	some message in evaluated[category][name].violations
	rule := concat("/", [category, name])
}

mode(rule) := "off" if {
	settings.modes[rule] == "off"
} else := "shadow" if {
	settings.modes[rule] == "shadow"
} else := "shadow" if {
	settings.mode == "shadow"
} else := "enforce"

well_formed if {
	is_string(input.principal.user)
	well_formed_action
}

well_formed_action if {
	input.action.kind == "infer"
	is_string(input.action.model)
	is_array(input.action.server_tools)
	is_array(input.action.mcp_servers)
	is_number(input.lineage.depth)
}

well_formed_action if {
	input.action.kind == "spawn"
	is_string(input.action.via)
	is_number(input.lineage.depth)
}

well_formed_action if {
	input.action.kind == "tool_call"
	is_string(input.action.tool)
	is_array(input.action.facts.commands)
	is_array(input.action.facts.paths)
	is_array(input.action.facts.hosts)
	is_array(input.action.facts.unclear)
}

well_formed_action if {
	input.action.kind == "run"
	is_boolean(input.action.opaque)
	has_profile
}

has_profile if {
	input.action.kind == "run"
	is_null(input.action.profile)
}

has_profile if {
	input.action.kind == "run"
	is_boolean(input.action.profile.valid)
	is_array(input.action.profile.problems)
	"fan_out" in object.keys(input.action.profile)
}
