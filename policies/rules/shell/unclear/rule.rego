# METADATA
# title: What could not be told
# description: Names what the reader of shell lines could not tell. In shadow mode by default, for scripts are ordinary.
package ringfence.rules.shell.unclear

import data.ringfence.lib

violations contains lib.violation(
	sprintf("it cannot be told what this call does: %s", [lib.shown(entry)]),
	"write the commands out, with names and paths that can be read in the line itself",
) if {
	input.action.kind == "tool_call"
	some entry in input.action.facts.unclear
	not startswith(entry, "unreadable: ")
}
