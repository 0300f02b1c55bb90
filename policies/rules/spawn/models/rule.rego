# METADATA
# title: Models of agents
# description: On which models agents of a type may run, and to which model their requests are moved.
package ringfence.rules.spawn.models

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("a %s agent may not run on model %q", [lib.shown(agent_type), lib.shown(input.action.model)]),
	sprintf("use one of: %s", [concat(", ", allowed)]),
) if {
	input.action.kind == "spawn"
	count(settings.spawn.models.allow) > 0
	is_string(input.action.model)
	not input.action.model in settings.models.aliases
	not is_spawn_of_main
	not route
	not lib.matches_any(allowed, input.action.model)
}

violations contains lib.violation(
	sprintf("a %s agent may not run on model %q", [lib.shown(agent_type), lib.shown(input.action.model)]),
	sprintf("use one of: %s", [concat(", ", allowed)]),
) if {
	input.action.kind == "infer"
	count(settings.spawn.models.allow) > 0
	input.lineage.depth > 0
	not route
	not lib.matches_any(allowed, input.action.model)
}

obligations contains {"kind": "set_model", "value": route} if {
	input.action.kind == "spawn"
	count(settings.spawn.models.route) > 0
	input.action.via == "first_request"
	not is_spawn_of_main
}

obligations contains {"kind": "set_model", "value": route} if {
	input.action.kind == "infer"
	count(settings.spawn.models.route) > 0
	input.lineage.depth > 0
}

is_spawn_of_main if {
	input.action.kind == "spawn"
	input.action.via != "tool_use"
	input.lineage.depth == 0
}

route := lib.entry_for(settings.spawn.models.route, agent_type)

default allowed := ["*"]

allowed := lib.entry_for(settings.spawn.models.allow, agent_type)

default agent_type := "unknown"

agent_type := input.action.agent_type if {
	input.action.kind == "spawn"
	is_string(input.action.agent_type)
}

agent_type := input.lineage.agent_type if {
	input.action.kind == "infer"
	is_string(input.lineage.agent_type)
}
