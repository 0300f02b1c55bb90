package ringfence.rules.workflows.scripts_test

import data.ringfence.rules.workflows.scripts

ask(profile) := {"action": {"kind": "run", "opaque": false, "profile": profile}}

test_small_script_passes if {
	count(scripts.violations) == 0 with input as ask({"valid": true, "fan_out": 3, "problems": []})
}

test_largest_fan_out_passes if {
	count(scripts.violations) == 0 with input as ask({"valid": true, "fan_out": 100, "problems": []})
}

test_absent_profile_refused if count(scripts.violations) == 1 with input as ask(null)

test_opaque_script_can_be_allowed if {
	count(scripts.violations) == 0 with input as {"action": {"kind": "run", "opaque": true, "profile": null}}
		with data.ringfence.settings.workflows.opaque as true
}
