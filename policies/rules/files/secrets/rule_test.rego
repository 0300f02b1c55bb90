package ringfence.rules.files.secrets_test

import data.ringfence.rules.files.secrets

found(path) := count(them) if {
	them := secrets.violations with input as {"action": {"kind": "tool_call", "facts": {"paths": [{"path": path, "access": "read"}]}}}
}

test_environment_file_refused if found(".env") == 1

test_upper_case_refused if found("a/.ENV.Local") == 1

test_public_key_passes if found("~/.ssh/id_rsa.pub") == 0

test_private_key_refused if found("~/.ssh/deploy") == 1

test_ordinary_wildcard_passes if found("*.json") == 0

test_telling_wildcard_refused if found(".en*") == 1

test_source_named_like_it_passes if found("src/environment.ts") == 0
