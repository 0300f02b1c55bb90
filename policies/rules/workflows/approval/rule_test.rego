package ringfence.rules.workflows.approval_test

import data.ringfence.rules.workflows.approval

ask(fan_out, registered) := {"action": {"kind": "run", "opaque": false, "registered": registered, "profile": {"valid": true, "fan_out": fan_out, "problems": []}}}

test_by_default_nobody_is_asked if count(approval.obligations) == 0 with input as ask(null, null)

test_as_many_as_allowed_pass if {
	count(approval.obligations) == 0 with input as ask(8, null)
		with data.ringfence.settings.workflows.approve_above as 8
}

test_more_are_held if {
	some one in approval.obligations with input as ask(9, null)
		with data.ringfence.settings.workflows.approve_above as 8
	one.value.reason == "the script can start 9 agents, more than 8"
}

test_registered_script_passes if {
	count(approval.obligations) == 0 with input as ask(9, {"name": null, "by": "bob", "at_ms": 1})
		with data.ringfence.settings.workflows.approve_above as 8
}

test_opaque_script_is_approved_for_once_only if {
	some one in approval.obligations with input as {"action": {"kind": "run", "opaque": true, "profile": null}}
		with data.ringfence.settings.workflows.approve_above as 8
	one.value.remember == "once"
}
