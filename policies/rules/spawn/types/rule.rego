# METADATA
# title: Who may start which agents
# description: Types of agents that an agent of some type, a user, a group or a team may start. Lists for all are spawn/limits.
package ringfence.rules.spawn.types

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("a %s agent may not start agents of type %q", [parent_type, lib.shown(agent_type)]),
	lib.one_of(of_parent, "do the work in this agent"),
) if {
	input.action.kind == "spawn"
	count(settings.spawn.types.parents) > 0
	is_parent_known
	not lib.matches_any(of_parent, agent_type)
}

violations contains lib.violation(
	"it is not known what type of agent asks for another one, and the setting spawn.types.parents depends on it",
	"do the work in this agent",
) if {
	input.action.kind == "spawn"
	count(settings.spawn.types.parents) > 0
	not is_parent_known
}

violations contains lib.violation(
	sprintf("agents of type %q are not allowed for you", [lib.shown(agent_type)]),
	lib.one_of([one | some list in of_principal; some one in list], "do the work in this agent"),
) if {
	input.action.kind == "spawn"
	not is_allowed_for_principal
}

is_parent_known if {
	input.action.kind == "spawn"
	is_string(input.action.parent_type)
}

is_parent_known if "unknown" in object.keys(settings.spawn.types.parents)

# A type without a list of its own takes that of "*"; without one it may start any.
default of_parent := ["*"]

of_parent := lib.entry_for(settings.spawn.types.parents, parent_type)

default of_principal := []

of_principal := lists if {
	input.action.kind == "spawn"
	lists := lib.lists_for(settings.spawn.types, input.principal.user, input.principal.groups, input.principal.team)
}

is_allowed_for_principal if {
	input.action.kind == "spawn"
	lists := lib.lists_for(settings.spawn.types, input.principal.user, input.principal.groups, input.principal.team)
	is_in(lists)
}

is_in(lists) if count(lists) == 0

is_in(lists) if {
	some list in lists
	lib.matches_any(list, agent_type)
}

default parent_type := "unknown"

parent_type := input.action.parent_type if {
	input.action.kind == "spawn"
	is_string(input.action.parent_type)
}

default agent_type := "unknown"

agent_type := input.action.agent_type if {
	input.action.kind == "spawn"
	is_string(input.action.agent_type)
}
