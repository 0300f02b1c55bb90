# METADATA
# title: Refused tool calls
# description: Calls that the settings name by tool, agent type, command line or input are refused.
package ringfence.rules.tools.denylist

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("this call of %s is refused by the setting tools.deny", [lib.shown(input.action.tool)]),
	"do without it, or ask the operator of the gateway for an exception",
) if {
	input.action.kind == "tool_call"
	some entry in settings.tools.deny
	lib.means(entry, input.action.tool, agent_type, input.action.facts.commands)
	is_input_meant(entry)
}

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
