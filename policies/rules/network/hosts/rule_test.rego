package ringfence.rules.network.hosts_test

import data.ringfence.rules.network.hosts

found(host) := count(them) if {
	them := hosts.violations with input as {"action": {"kind": "tool_call", "tool": "Bash", "facts": {"hosts": [host]}}}
}

test_public_host_passes if found("example.com") == 0

test_private_address_refused if found("172.20.1.1") == 1

test_public_address_passes if found("172.32.1.1") == 0

test_local_v6_refused if found("fe80::1") == 1

test_private_host_allowed_by_name_passes if {
	found("git.corp") == 0 with data.ringfence.settings.network.allow as ["*", "git.corp"]
}

test_loopback_can_be_refused if {
	found("127.0.0.1") == 1 with data.ringfence.settings.network.loopback as false
}
