package ringfence.rules.cloud.credentials_test

import data.ringfence.rules.cloud.credentials

found(argv) := count(them) if {
	them := credentials.violations with input as {"action": {"kind": "tool_call", "facts": {"hosts": [], "commands": [{"program": argv[0], "argv": argv}]}}}
}

test_token_refused if found(["gh", "auth", "token"]) == 1

test_other_words_pass if found(["gh", "pr", "list"]) == 0

test_bare_environment_refused if found(["printenv"]) == 1

test_wrapper_env_passes if found(["env", "A=b", "npm", "test"]) == 0

test_secret_variable_refused if found(["printenv", "GITHUB_TOKEN"]) == 1

test_all_exports_refused if found(["export", "-p"]) == 1
