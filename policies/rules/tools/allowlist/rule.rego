# METADATA
# title: Only listed tools
# description: A tool may be called only if the settings list it, for the agent's type if that has a list of its own.
package ringfence.rules.tools.allowlist

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("tool %q is not allowed for %s agents", [lib.shown(input.action.tool), agent_type]),
	sprintf("use one of: %s", [concat(", ", allowed)]),
) if {
	input.action.kind == "tool_call"
	not lib.matches_any(allowed, input.action.tool)
}

allowed := settings.tools.agent_types[agent_type] if {
	settings.tools.agent_types[agent_type]
} else := settings.tools.allow

default agent_type := "main"

agent_type := input.lineage.agent_type if {
	input.action.kind == "tool_call"
	is_string(input.lineage.agent_type)
}
