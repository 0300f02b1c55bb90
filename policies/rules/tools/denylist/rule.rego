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
	refuses(entry)
}

refuses(entry) if {
	is_string(entry)
	lib.matches(entry, input.action.tool)
}

refuses(entry) if {
	input.action.kind == "tool_call"
	is_object(entry)
	lib.matches(entry.tool, input.action.tool)
	is_agent_meant(entry)
	is_command_meant(entry)
	is_input_meant(entry)
}

is_agent_meant(entry) if not entry.agent_types

is_agent_meant(entry) if {
	input.action.kind == "tool_call"
	lib.matches_any(entry.agent_types, agent_type)
}

default agent_type := "main"

agent_type := input.lineage.agent_type if {
	input.action.kind == "tool_call"
	is_string(input.lineage.agent_type)
}

is_command_meant(entry) if not entry.commands

is_command_meant(entry) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	lib.matches_any(entry.commands, lib.line(command.argv))
}

is_input_meant(entry) if not entry.input

is_input_meant(entry) if {
	input.action.kind == "tool_call"
	every field, pattern in entry.input {
		regex.match(pattern, text(input.action.input[field]))
	}
}

text(value) := value if is_string(value)

text(value) := json.marshal(value) if not is_string(value)
