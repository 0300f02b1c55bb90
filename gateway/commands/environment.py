"""`ringfence env`: what a developer exports so that a client talks to the gateway. No configuration is read.

The names are those Claude Code and the SDKs read. A client that finds both an API key and a token sends both, and two
different credentials are refused; so the API key is unset.
"""

import shlex
from dataclasses import dataclass

from gateway.commands.address import gateway_url
from gateway.commands.output import print_json
from gateway.contract import FOUNDRY_PREFIX

SHELLS = ("sh", "fish", "powershell")
MODES = ("anthropic", "bedrock", "vertex", "foundry")
CREDENTIAL_VARIABLE = "RINGFENCE_CREDENTIAL"

_TITLES = {
    "anthropic": "Claude Code and the Anthropic SDKs",
    "bedrock": "Claude Code in Bedrock mode",
    "vertex": "Claude Code in Vertex mode",
    "foundry": "Claude Code in Foundry mode",
}
_SWITCHES = {
    "bedrock": "CLAUDE_CODE_USE_BEDROCK",
    "vertex": "CLAUDE_CODE_USE_VERTEX",
    "foundry": "CLAUDE_CODE_USE_FOUNDRY",
}
"""Each sends the client to its cloud, past the gateway, so a mode unsets those of the others."""
_RIVALS = {"bedrock": ("AWS_BEARER_TOKEN_BEDROCK",), "foundry": ("ANTHROPIC_FOUNDRY_RESOURCE",)}
"""What a client would take instead of, or not together with, what the mode sets."""
_COMMENT_PREFIX = "# "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `credential` None: refer to the variable. `mode` None: all, only the first one active."""

    url: str
    shell: str = "sh"
    mode: str | None = None
    credential: str | None = None


def print_environment(wanted: Wanted, *, as_json: bool) -> None:
    """Print the exports, or with `as_json` what each mode sets and unsets."""
    url = gateway_url(wanted.url)
    modes = MODES if wanted.mode is None else (wanted.mode,)
    if as_json:
        credential = wanted.credential or f"${{{CREDENTIAL_VARIABLE}}}"
        values = {mode: {name: value or credential for name, value in _variables(mode, url).items()} for mode in modes}
        print_json({mode: {"set": values[mode], "unset": _unset(mode)} for mode in modes})
        return
    for mode in modes:
        prefix = "" if mode == modes[0] else _COMMENT_PREFIX
        how = "" if not prefix else f" (active with --mode {mode})"
        print(f"# {_TITLES[mode]}{how}")
        for line in _lines(mode, url, wanted):
            print(prefix + line)


def plain_variables(mode: str, url: str) -> dict[str, str]:
    """What a mode sets, without the credential; what it unsets is empty, which the client takes for the same."""
    set_here = {name: value for name, value in _variables(mode, url).items() if value is not None}
    return set_here | dict.fromkeys(_unset(mode), "")


def _unset(mode: str) -> list[str]:
    others = [switch for other, switch in _SWITCHES.items() if other != mode]
    return ["ANTHROPIC_API_KEY", *others, *_RIVALS.get(mode, ())]


def _variables(mode: str, url: str) -> dict[str, str | None]:
    """Name to value; None stands for the credential."""
    if mode == "bedrock":
        return {
            _SWITCHES[mode]: "1",
            "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
            "ANTHROPIC_BEDROCK_BASE_URL": url,
            "AWS_REGION": "us-east-1",
            "ANTHROPIC_AUTH_TOKEN": None,
        }
    if mode == "vertex":
        return {
            _SWITCHES[mode]: "1",
            "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
            "ANTHROPIC_VERTEX_BASE_URL": f"{url}/v1",
            "ANTHROPIC_VERTEX_PROJECT_ID": "ringfence",
            "CLOUD_ML_REGION": "global",
            "ANTHROPIC_AUTH_TOKEN": None,
        }
    if mode == "foundry":
        return {
            _SWITCHES[mode]: "1",
            "ANTHROPIC_FOUNDRY_BASE_URL": f"{url}{FOUNDRY_PREFIX}",
            "ANTHROPIC_FOUNDRY_API_KEY": None,
        }
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": None}


def _lines(mode: str, url: str, wanted: Wanted) -> list[str]:
    shell = wanted.shell
    unset = {"sh": "unset {}", "fish": "set -e {}", "powershell": "Remove-Item Env:{} -ErrorAction SilentlyContinue"}
    assign = {"sh": "export {}={}", "fish": "set -gx {} {}", "powershell": "$env:{} = {}"}
    reference = {"powershell": f"$env:{CREDENTIAL_VARIABLE}"}.get(shell, f'"${CREDENTIAL_VARIABLE}"')
    lines = [unset[shell].format(name) for name in _unset(mode)]
    for name, value in _variables(mode, url).items():
        text = wanted.credential if value is None else value
        lines.append(assign[shell].format(name, reference if text is None else _quoted(text, shell)))
    return lines


def _quoted(text: str, shell: str) -> str:
    if shell == "fish":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "''") + "'" if shell == "powershell" else shlex.quote(text)
