# METADATA
# title: What was not looked at
# description: Refuses a call of which part was not read at all, because a limit was passed or the input has a wrong type.
package ringfence.rules.shell.unreadable

import data.ringfence.lib

violations contains lib.violation(
	sprintf("part of this call was not read: %s", [lib.shown(trim_prefix(entry, "unreadable: "))]),
	"split it into several shorter calls",
) if {
	input.action.kind == "tool_call"
	some entry in input.action.facts.unclear
	startswith(entry, "unreadable: ")
}
