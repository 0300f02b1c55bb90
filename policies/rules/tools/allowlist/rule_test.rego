package ringfence.rules.tools.allowlist_test

import data.ringfence.rules.tools.allowlist

test_star_allows_all if {
	count(allowlist.violations) == 0 with input as {"action": {"kind": "tool_call", "tool": "mcp__a__b"}}
}

test_unlisted_tool_refused if {
	count(allowlist.violations) == 1 with input as {"action": {"kind": "tool_call", "tool": "Bash"}}
		with data.ringfence.settings.tools.allow as ["Read"]
}

test_listed_tool_passes if {
	count(allowlist.violations) == 0 with input as {"action": {"kind": "tool_call", "tool": "Read"}}
		with data.ringfence.settings.tools.allow as ["Read"]
}
