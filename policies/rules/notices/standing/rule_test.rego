package ringfence.rules.notices.standing_test

import data.ringfence.rules.notices.standing

ask := {"action": {"kind": "infer", "model": "claude-x"}, "principal": {"user": "u", "groups": ["g"], "team": null}}

test_by_default_nothing_is_said if count(standing.obligations) == 0 with input as ask

test_entry_for_everybody_is_said if {
	standing.obligations == {{"kind": "notice", "value": "hello"}} with input as ask
		with data.ringfence.settings.notices as [{"text": "hello"}]
}

test_all_parts_must_match if {
	count(standing.obligations) == 0 with input as ask
		with data.ringfence.settings.notices as [{"text": "hello", "groups": ["g"], "teams": ["t"]}]
}

test_misspelt_part_refuses_instead_of_telling_all if {
	count(standing.violations) == 1 with input as ask
		with data.ringfence.settings.notices as [{"text": "hello", "team": "t"}]
}
