package ringfence.rules.shell.package_installs_test

import data.ringfence.rules.shell.package_installs

found(argv) := count(them) if {
	them := package_installs.violations with input as {"action": {"kind": "tool_call", "facts": {"commands": [{"program": argv[0], "argv": argv}]}}}
}

test_requirements_file_passes if found(["pip", "install", "-r", "requirements.txt"]) == 0

test_project_itself_passes if found(["pip", "install", "-e", "."]) == 0

test_named_package_refused if found(["pip", "install", "requests"]) == 1

test_other_verb_passes if found(["npm", "run", "install-hooks"]) == 0

test_build_passes if found(["cargo", "build"]) == 0

test_go_install_of_this_module_passes if found(["go", "install", "./..."]) == 0
