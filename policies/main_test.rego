package ringfence_test

import data.ringfence

infer := {"action": {"kind": "infer", "model": "claude-x", "server_tools": [], "mcp_servers": []}, "principal": {"user": "u"}, "lineage": {"depth": 0}}

refused := object.union(infer, {"action": {"model": "other"}})

test_known_query_allowed if ringfence.decision.allow with input as infer

test_unknown_kind_denied if not ringfence.decision.allow with input as {"action": {"kind": "x"}, "principal": {"user": "u"}}

test_empty_query_denied if {
	ringfence.decision.reasons[0].rule == "engine/query" with input as {}
}

test_violation_names_its_rule if {
	ringfence.decision.reasons[0].rule == "models/allowlist" with input as refused
}

test_rule_in_shadow_only_records if {
	decision := ringfence.decision with input as refused with data.ringfence.settings.modes as {"models/allowlist": "shadow"}
	decision.allow
	count(decision.shadow) == 1
}

test_rule_switched_off_is_silent if {
	decision := ringfence.decision with input as refused with data.ringfence.settings.modes as {"models/allowlist": "off"}
	decision.allow
	count(decision.shadow) == 0
}

test_gateway_in_shadow_only_records if {
	decision := ringfence.decision with input as refused with data.ringfence.settings.mode as "shadow"
	decision.allow
	count(decision.shadow) == 1
}
