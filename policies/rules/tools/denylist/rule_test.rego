package ringfence.rules.tools.denylist_test

import data.ringfence.rules.tools.denylist

call(tool, argv) := {"action": {"kind": "tool_call", "tool": tool, "input": {"a": 1}, "facts": {"commands": [{"argv": argv}]}}}

test_bare_command_matches_star if {
	count(denylist.violations) == 1 with input as call("Bash", ["git", "push"])
		with data.ringfence.settings.tools.deny as [{"tool": "Bash", "commands": ["git push *"]}]
}

test_other_tool_passes if {
	count(denylist.violations) == 0 with input as call("Read", ["git", "push"])
		with data.ringfence.settings.tools.deny as [{"tool": "Bash", "commands": ["git push *"]}]
}

test_field_that_is_no_text_is_matched_as_json if {
	count(denylist.violations) == 1 with input as call("x", [])
		with data.ringfence.settings.tools.deny as [{"tool": "x", "input": {"a": "^1$"}}]
}

test_empty_list_passes if {
	count(denylist.violations) == 0 with input as call("x", [])
}
