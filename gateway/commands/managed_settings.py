"""`ringfence env --managed-settings`: what to deploy as Claude Code's managed settings. Holds no secret.

Hooks bring the credential from the variable that `ringfence env` refers to: the client was measured to leave out of
its hooks those that it takes its own from (`ANTHROPIC_AUTH_TOKEN`). A hook that gets no answer, or is refused, would
let its tool call go on; `onFailure` (Claude Code 2.1.295 and later) keeps it back. What the client holds to beyond that
(its own permissions, its sandbox) is not for a gateway to set.
"""

import re
from typing import Any

from gateway.commands.address import gateway_url
from gateway.commands.environment import CREDENTIAL_VARIABLE, plain_variables
from gateway.commands.output import print_json
from gateway.contract import HOOKS_PREFIX
from gateway.core.inquiries.hooks import PRE_TOOL_USE, USED_EVENTS

TIMEOUT_SECONDS = 10
"""An answer takes milliseconds; one about an approval that another gateway was given, about a second."""

_tag = re.compile(r"/gw/[^/]+$")
"""Only requests to models have it."""


def print_managed_settings(url: str, *, mode: str | None = None, disable_workflows: bool = False) -> None:
    """Print the file's content for clients in `mode`, of which there is one for all."""
    print_json(managed_settings(gateway_url(url), mode or "anthropic", disable_workflows=disable_workflows))


def managed_settings(url: str, mode: str, *, disable_workflows: bool) -> dict[str, Any]:
    """The settings by the client's own names."""
    hooks_url = _tag.sub("", url) + HOOKS_PREFIX
    settings: dict[str, Any] = {
        "env": plain_variables(mode, url),
        "allowManagedHooksOnly": True,
        "allowedHttpHookUrls": [f"{hooks_url}*"],
        "httpHookAllowedEnvVars": [CREDENTIAL_VARIABLE],
        "hooks": {event: [{"hooks": [_hook(event, hooks_url)]}] for event in USED_EVENTS},
        "permissions": {"disableBypassPermissionsMode": "disable"},
    }
    if disable_workflows:
        settings["disableWorkflows"] = True
    return settings


def _hook(event: str, hooks_url: str) -> dict[str, Any]:
    hook: dict[str, Any] = {
        "type": "http",
        "url": hooks_url + event,
        "timeout": TIMEOUT_SECONDS,
        "headers": {"Authorization": f"Bearer ${CREDENTIAL_VARIABLE}"},
        "allowedEnvVars": [CREDENTIAL_VARIABLE],
    }
    return hook | {"onFailure": "block"} if event == PRE_TOOL_USE else hook
