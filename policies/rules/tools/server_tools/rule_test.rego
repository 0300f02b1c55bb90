package ringfence.rules.tools.server_tools_test

import data.ringfence.rules.tools.server_tools

ask(types, urls) := {"action": {"kind": "infer", "server_tools": types, "mcp_servers": urls}}

test_no_server_tools_pass if count(server_tools.violations) == 0 with input as ask([], [])

test_plain_http_server_refused if {
	count(server_tools.violations) == 1 with input as ask([], ["http://a.b/"])
		with data.ringfence.settings.tools.mcp_hosts as ["a.b"]
}

test_backslash_does_not_move_the_host if {
	count(server_tools.violations) == 1 with input as ask([], ["https://evil.example\\@a.b/"])
		with data.ringfence.settings.tools.mcp_hosts as ["a.b"]
}
