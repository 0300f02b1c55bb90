# METADATA
# title: Tool calls that somebody must approve
# description: Calls that the settings name by tool, agent type, command line or input are held until a person decides.
package ringfence.rules.tools.approval

import data.ringfence.lib
import data.ringfence.settings

obligations contains {"kind": "require_approval", "value": asked(entry)} if {
	input.action.kind == "tool_call"
	some entry in settings.tools.approve
	lib.means(entry, input.action.tool, agent_type, input.action.facts.commands)
	is_input_meant(entry)
}

violations contains lib.violation(
	sprintf("the setting tools.approve has an entry that cannot be read: %s", [lib.shown(lib.text(entry))]),
	"ask the operator of the gateway to correct it",
) if {
	input.action.kind == "tool_call"
	some entry in settings.tools.approve
	not is_readable(entry)
}

# How an entry may say that it is approved, beside what it means.
how := {"reason", "four_eyes", "expires_seconds", "remember"}

known := {"tool", "agent_types", "commands", "input"} | how

is_readable(entry) if is_string(entry)

is_readable(entry) if {
	is_string(entry.tool)
	count(object.keys(entry) - known) == 0
}

default_reason := "the setting tools.approve names this call"

asked(entry) := {"reason": default_reason} if is_string(entry)

asked(entry) := object.union({"reason": default_reason}, object.filter(entry, how)) if is_object(entry)

default agent_type := "main"

agent_type := input.lineage.agent_type if {
	input.action.kind == "tool_call"
	is_string(input.lineage.agent_type)
}

is_input_meant(entry) if not entry.input

is_input_meant(entry) if {
	input.action.kind == "tool_call"
	every field, pattern in entry.input {
		regex.match(pattern, lib.text(input.action.input[field]))
	}
}
