package ringfence.rules.shell.destructive_test

import data.ringfence.rules.shell.destructive

line(argv, paths) := {"action": {"kind": "tool_call", "facts": {
	"commands": [{"program": argv[0], "argv": argv}],
	"paths": [{"path": path, "access": "write"} | some path in paths],
}}}

found(argv) := count(them) if {
	them := destructive.violations with input as line(argv, [])
}

test_force_with_lease_on_own_branch_passes if found(["git", "push", "--force-with-lease", "origin", "mine"]) == 0

test_force_with_lease_on_main_refused if found(["git", "push", "--force-with-lease", "origin", "main"]) == 1

test_short_force_refused if found(["git", "push", "-uf", "origin", "mine"]) == 1

test_remote_branch_removal_refused if found(["git", "push", "origin", ":main"]) == 1

test_dry_clean_passes if found(["git", "clean", "-nfd"]) == 0

test_unstaging_passes if found(["git", "restore", "--staged", "."]) == 0

test_throwing_all_away_refused if found(["git", "checkout", "--", "."]) == 1

test_own_branch_deletion_passes if found(["git", "branch", "-D", "mine"]) == 0

test_main_deletion_refused if found(["git", "branch", "-D", "main"]) == 1

test_unknown_program_with_rm_options_refused if found(["\ufffd", "-rf", "/"]) == 1

test_protected_folder_refused if {
	count(destructive.violations) == 1 with input as line(["rm", "-r", "x"], ["/etc"])
}

test_protected_folder_of_a_home_refused if {
	count(destructive.violations) == 1 with input as line(["rm", "-r", "x"], ["/home/alice/.ssh"])
}

test_single_file_passes if found(["rm", "-f", "a.o"]) == 0
