package ringfence.rules.shell.pipe_to_shell_test

import data.ringfence.rules.shell.pipe_to_shell

fed(program, argv, from) := {"action": {"kind": "tool_call", "facts": {"commands": [{"program": program, "argv": argv, "piped_from": from}]}}}

found(program, argv, from) := count(them) if {
	them := pipe_to_shell.violations with input as fed(program, argv, from)
}

test_shell_fed_by_curl_refused if found("sh", ["sh"], "curl") == 1

test_shell_fed_by_cat_passes if found("sh", ["sh"], "cat") == 0

test_shell_with_text_of_its_own_passes if found("sh", ["sh", "-c", "cat"], "curl") == 0

test_interpreter_on_standard_input_refused if found("python3", ["python3", "-"], "curl") == 1

test_interpreter_with_module_passes if found("python3", ["python3", "-m", "json.tool"], "curl") == 0
