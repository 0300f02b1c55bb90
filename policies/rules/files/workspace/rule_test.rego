package ringfence.rules.files.workspace_test

import data.ringfence.rules.files.workspace

found(use) := count(them) if {
	them := workspace.violations with input as {"action": {"kind": "tool_call", "facts": {"paths": [use]}}}
}

test_inside_passes if found({"path": "/w/a", "access": "write", "inside_workspace": true}) == 0

test_outside_refused if found({"path": "/x/a", "access": "write", "inside_workspace": false}) == 1

test_untold_absolute_path_refused if found({"path": "/x/a", "access": "write"}) == 1

test_untold_relative_path_passes if found({"path": "\ufffd", "access": "write", "inside_workspace": null}) == 0

test_reading_outside_passes if found({"path": "/x/a", "access": "read", "inside_workspace": false}) == 0

test_name_that_only_begins_like_scratch_refused if found({"path": "/tmpx/a", "access": "write", "inside_workspace": false}) == 1
