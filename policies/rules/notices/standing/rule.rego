# METADATA
# title: Standing notices
# description: Texts that the settings put before the model, for everybody or for some users, groups, teams or models.
package ringfence.rules.notices.standing

import data.ringfence.lib
import data.ringfence.settings

obligations contains {"kind": "notice", "value": entry.text} if {
	input.action.kind == "infer"
	some entry in settings.notices
	is_meant(entry, "users", [input.principal.user])
	is_meant(entry, "groups", input.principal.groups)
	is_meant(entry, "teams", [input.principal.team])
	is_meant(entry, "models", [input.action.model])
}

violations contains lib.violation(
	sprintf("the setting notices has an entry that cannot be read: %s", [lib.shown(lib.text(entry))]),
	"ask the operator of the gateway to correct it",
) if {
	input.action.kind == "infer"
	some entry in settings.notices
	not is_readable(entry)
}

is_readable(entry) if {
	is_string(entry.text)
	entry.text != ""
	count(object.keys(entry) - {"text", "users", "groups", "teams", "models"}) == 0
}

is_meant(entry, part, _) if not part in object.keys(entry)

is_meant(entry, part, names) if {
	some name in names
	is_string(name)
	lib.matches_any(entry[part], name)
}
