# METADATA
# title: Workflow scripts
# description: Which scripts may run, whether unread, how many agents they may start, and what those may ask for.
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

violations contains lib.violation(
	sprintf("the script %q is not among those that may run here", [lib.shown(name)]),
	"ask the operator of the gateway to approve it, or do the steps one by one with the tools you have",
) if {
	input.action.kind == "run"
	are_scripts_listed
	not is_listed
}

violations contains lib.violation(
	sprintf("the script asks for model %q", [lib.shown(model)]),
	sprintf("use one of: %s", [concat(", ", settings.workflows.models)]),
) if {
	input.action.kind == "run"
	some model in input.action.profile.models
	not lib.matches_any(settings.workflows.models, model)
}

violations contains lib.violation(
	sprintf("the script asks for the isolation %q", [lib.shown(isolation)]),
	sprintf("use one of: %s", [concat(", ", settings.workflows.isolations)]),
) if {
	input.action.kind == "run"
	some isolation in input.action.profile.isolations
	not lib.matches_any(settings.workflows.isolations, isolation)
}

are_scripts_listed if count(settings.workflows.approved) > 0

are_scripts_listed if count(settings.workflows.names) > 0

is_listed if {
	input.action.kind == "run"
	is_object(input.action.registered)
}

is_listed if {
	input.action.kind == "run"
	input.action.script_sha256 in settings.workflows.approved
}

is_listed if lib.matches_any(settings.workflows.names, name)

default name := ""

name := input.action.name if {
	input.action.kind == "run"
	is_string(input.action.name)
} else := input.action.profile.name if {
	input.action.kind == "run"
	is_string(input.action.profile.name)
}
