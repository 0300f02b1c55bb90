package ringfence.rules.shell.unclear_test

import data.ringfence.rules.shell.unclear

found(entries) := count(them) if {
	them := unclear.violations with input as {"action": {"kind": "tool_call", "facts": {"unclear": entries}}}
}

test_nothing_unclear_passes if found([]) == 0

test_entry_refused if found(["syntax error"]) == 1

test_unread_part_is_another_rule if found(["unreadable: the line is too long"]) == 0
