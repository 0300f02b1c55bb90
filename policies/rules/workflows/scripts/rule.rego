# METADATA
# title: Workflow scripts
# description: Whether scripts may run at all, unread, with faults, and how many agents they may start.
package ringfence.rules.workflows.scripts

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	"workflow scripts are switched off here",
	"do the steps one by one with the tools you have",
) if {
	input.action.kind == "run"
	not settings.workflows.allow
}

violations contains lib.violation(
	"this workflow is named instead of carried, so nobody can read it first",
	"give the whole source in `script`",
) if {
	input.action.kind == "run"
	input.action.opaque
	not settings.workflows.opaque
}

violations contains lib.violation(
	"the script has no profile",
	"give the whole source in `script`",
) if {
	input.action.kind == "run"
	not input.action.opaque
	not is_object(input.action.profile)
}

violations contains lib.violation(
	sprintf("the script is not valid: %s", [lib.shown(concat(", ", input.action.profile.problems))]),
	"correct it and send it again",
) if {
	input.action.kind == "run"
	is_object(input.action.profile)
	not input.action.profile.valid
}

violations contains lib.violation(
	sprintf("the script can start %d agents, %d is the limit", [input.action.profile.fan_out, settings.workflows.fan_out]),
	"split the work, or let fewer agents do more each",
) if {
	input.action.kind == "run"
	is_number(input.action.profile.fan_out)
	input.action.profile.fan_out > settings.workflows.fan_out
}

violations contains lib.violation(
	"it cannot be seen how many agents the script can start",
	"loop over a list that is written out in the script",
) if {
	input.action.kind == "run"
	is_object(input.action.profile)
	not settings.workflows.unbounded
	not is_number(input.action.profile.fan_out)
}
