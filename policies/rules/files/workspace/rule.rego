# METADATA
# title: Writing outside the workspace
# description: Agents write in their working directory and in scratch folders, nowhere else.
package ringfence.rules.files.workspace

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("%s lies outside the workspace", [lib.shown(use.path)]),
	sprintf("write below the workspace or in one of: %s", [concat(", ", settings.files.workspace.writable)]),
) if {
	input.action.kind == "tool_call"
	some use in input.action.facts.paths
	use.access == "write"
	use.inside_workspace == false
	not is_writable(use.path)
}

violations contains lib.violation(
	sprintf("it cannot be told whether %s lies in the workspace", [lib.shown(use.path)]),
	"use a path relative to the working directory, without `..`",
) if {
	input.action.kind == "tool_call"
	some use in input.action.facts.paths
	use.access == "write"
	is_untold(use)
	startswith(use.path, "/")
	not is_writable(use.path)
}

violations contains lib.violation(
	sprintf("%s is run by other programs later", [lib.shown(use.path)]),
	"ask a person to change it",
) if {
	input.action.kind == "tool_call"
	some use in input.action.facts.paths
	use.access == "write"
	lib.matches_any(settings.files.workspace.protected, sprintf("/%s", [trim_left(use.path, "/")]))
}

is_untold(use) if not is_boolean(object.get(use, "inside_workspace", null))

is_writable(path) if {
	some form in {path, lib.from_home(path)}
	some root in settings.files.workspace.writable
	startswith(sprintf("%s/", [form]), sprintf("%s/", [root]))
}
