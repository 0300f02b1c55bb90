package ringfence.rules.models.allowlist_test

import data.ringfence.rules.models.allowlist

test_listed_model_passes if {
	count(allowlist.violations) == 0 with input as {"action": {"kind": "infer", "model": "claude-x"}, "principal": {"user": "u"}}
}

test_other_model_refused if {
	count(allowlist.violations) == 1 with input as {"action": {"kind": "infer", "model": "other"}, "principal": {"user": "u"}}
}

test_group_list_replaces_default if {
	allowlist.allowed == ["a-*"] with input as {"principal": {"user": "u", "groups": ["g"]}}
		with data.ringfence.settings.models.groups as {"g": ["a-*"]}
}

test_agent_without_model_passes if {
	count(allowlist.violations) == 0 with input as {"action": {"kind": "spawn", "model": null}, "principal": {"user": "u"}}
}
