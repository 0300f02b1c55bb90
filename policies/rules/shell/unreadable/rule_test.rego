package ringfence.rules.shell.unreadable_test

import data.ringfence.rules.shell.unreadable

found(entries) := count(them) if {
	them := unreadable.violations with input as {"action": {"kind": "tool_call", "facts": {"unclear": entries}}}
}

test_unread_part_refused if found(["unreadable: the line is too long"]) == 1

test_other_doubt_passes if found(["syntax error"]) == 0
