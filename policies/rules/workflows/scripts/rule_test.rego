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

test_no_list_allows_any if {
	count(scripts.violations) == 0 with input as ask({"valid": true, "fan_out": 3, "problems": [], "name": "x"})
}

test_listed_hash_passes if {
	count(scripts.violations) == 0 with input as object.union(
		ask({"valid": true, "fan_out": 3, "problems": []}),
		{"action": {"script_sha256": "ab"}},
	)
		with data.ringfence.settings.workflows.approved as ["ab"]
}

test_registered_script_is_still_held_to_the_fan_out if {
	count(scripts.violations) == 1 with input as object.union(
		ask({"valid": true, "fan_out": 101, "problems": []}),
		{"action": {"registered": {"name": null, "by": "bob", "at_ms": 1}}},
	)
		with data.ringfence.settings.workflows.approved as ["ab"]
}

test_name_of_the_call_counts_before_the_profile if {
	scripts.name == "b" with input as object.union(ask({"name": "a"}), {"action": {"name": "b"}})
}
