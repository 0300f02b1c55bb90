# METADATA
# title: Only listed models
# description: A request or a new agent may only use models that the settings list for its user, groups or team.
package ringfence.rules.models.allowlist

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("model %q is not allowed for you", [lib.shown(input.action.model)]),
	sprintf("use one of: %s", [concat(", ", allowed)]),
) if {
	input.action.kind == "infer"
	not lib.matches_any(allowed, input.action.model)
}

violations contains lib.violation(
	sprintf("an agent with model %q is not allowed for you", [lib.shown(input.action.model)]),
	sprintf("use one of: %s", [concat(", ", allowed)]),
) if {
	input.action.kind == "spawn"
	is_string(input.action.model)
	not spawnable(input.action.model)
}

spawnable(model) if lib.matches_any(allowed, model)

spawnable(model) if model in settings.models.aliases

allowed := settings.models.users[input.principal.user] if {
	settings.models.users[input.principal.user]
} else := of_groups if {
	count(of_groups) > 0
} else := settings.models.teams[input.principal.team] if {
	settings.models.teams[input.principal.team]
} else := settings.models.allow

of_groups := [pattern |
	some group in input.principal.groups
	some pattern in settings.models.groups[group]
]
