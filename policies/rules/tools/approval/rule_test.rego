package ringfence.rules.tools.approval_test

import data.ringfence.rules.tools.approval

call(tool, argv) := {"action": {"kind": "tool_call", "tool": tool, "input": {"a": 1}, "facts": {"commands": [{"argv": argv}]}}}

test_by_default_nobody_is_asked if count(approval.obligations) == 0 with input as call("Bash", ["git", "push"])

test_name_is_enough if {
	some one in approval.obligations with input as call("WebFetch", [])
		with data.ringfence.settings.tools.approve as ["WebFetch"]
	one.value.reason == "the setting tools.approve names this call"
}

test_entry_says_how_it_is_approved if {
	some one in approval.obligations with input as call("Bash", ["git", "push"])
		with data.ringfence.settings.tools.approve as [{"tool": "Bash", "commands": ["git push *"], "reason": "pushes", "remember": "once"}]
	one.value.reason == "pushes"
	one.value.remember == "once"
}

test_other_input_passes if {
	count(approval.obligations) == 0 with input as call("x", [])
		with data.ringfence.settings.tools.approve as [{"tool": "x", "input": {"a": "^2$"}}]
}

test_misspelt_entry_refuses if {
	count(approval.violations) == 1 with input as call("Read", [])
		with data.ringfence.settings.tools.approve as [{"tool": "Bash", "command": "git push"}]
}
