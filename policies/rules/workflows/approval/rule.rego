# METADATA
# title: Scripts that somebody must approve
# description: A script that may start many agents, or as many as nobody can tell, is held until a person decides.
package ringfence.rules.workflows.approval

import data.ringfence.settings

obligations contains {"kind": "require_approval", "value": {"reason": concat("; ", sort(causes))}} if {
	input.action.kind == "run"
	is_number(settings.workflows.approve_above)
	not input.action.opaque
	not is_registered
	count(causes) > 0
}

# One that is only named has no hash to remember: what the name stands for may change.
obligations contains {"kind": "require_approval", "value": {
	"reason": "the workflow is named instead of carried, so nobody can read it first",
	"remember": "once",
}} if {
	input.action.kind == "run"
	is_number(settings.workflows.approve_above)
	input.action.opaque
}

causes contains sprintf("the script can start %d agents, more than %d", [input.action.profile.fan_out, settings.workflows.approve_above]) if {
	input.action.kind == "run"
	input.action.profile.fan_out > settings.workflows.approve_above
}

causes contains "it cannot be seen how many agents the script can start" if {
	input.action.kind == "run"
	not is_fan_out_known
}

is_registered if {
	input.action.kind == "run"
	is_object(input.action.registered)
}

is_fan_out_known if {
	input.action.kind == "run"
	is_number(input.action.profile.fan_out)
}
