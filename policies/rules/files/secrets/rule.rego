# METADATA
# title: Files that hold secrets
# description: Key files, environment files and credential stores are neither read nor written by agents.
package ringfence.rules.files.secrets

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("%s may hold secrets and must not be %s", [lib.shown(use.path), {"read": "read", "write": "written"}[use.access]]),
	"work from an example file without values, or ask a person for what you need from it",
) if {
	input.action.kind == "tool_call"
	some use in input.action.facts.paths
	path := sprintf("/%s", [trim_left(lower(use.path), "/")])
	parts := split(path, "/")
	is_secret(path, parts, parts[count(parts) - 1])
	not strings.any_suffix_match(path, settings.files.secrets.allow)
}

is_secret(_, parts, name) if {
	name in settings.files.secrets.names
} else if {
	strings.any_prefix_match(name, settings.files.secrets.starts)
} else if {
	strings.any_suffix_match(name, settings.files.secrets.ends)
} else if {
	some part in parts
	part in settings.files.secrets.folders
} else if {
	some part in parts
	may_stand_for_secret(part)
}

is_secret(path, _, _) if lib.matches_any(settings.files.secrets.paths, path)

# A wildcard of the shell that could stand for such a name: `.en*`, `id_?sa`.
may_stand_for_secret(part) if {
	regex.match(`^[^*?\[]{2,}[*?\[]`, part)
	some suspect in settings.files.secrets.suspects
	glob.match(part, ["/"], suspect)
}
