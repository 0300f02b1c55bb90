"""Takes what names an operator's cloud out of a text that a client will read. Not a scan of what users wrote.

Finds names as clouds spell them. A project or person merely called by name in a sentence is not found, which is why
texts that speak of an operator's permissions are not shown at all (`faults.py`).
"""

import re

_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OWNER = r"(?:tenant|client|object|subscription|directory|application|principal|identifier)(?:[ _]?id)?"
_LABELS = r"(?<![\w-])(?<![\w-]\.)(?:[\w-]+\.)+"
_CLOUD_SUFFIX = r"(?:vpce\.amazonaws\.com|services\.ai\.azure\.com|openai\.azure\.com|p\.googleapis\.com)"
_PRIVATE_SUFFIX = r"(?:internal|intranet|private|local|corp|lan)(?![\w-]|\.[\w-])"
_PRIVATE_NET = r"(?:10\.\d{1,3}|127\.\d{1,3}|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168)"


def _ascii(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.IGNORECASE)


_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (_ascii(r"arn(?::|%3a)aws[\w-]*(?::|%3a)[\w+=,.@:/*%-]*[\w/*]"), "[arn]"),
    (
        re.compile(r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|(?:sk-ant-|ya29\.|(?<![\w-])eyJ[\w-]+\.)[\w.-]+", re.ASCII),
        "[secret]",
    ),
    (_ascii(r"(?<![\w.+@-])[\w.+-]*@[\w.+@-]*\.[a-z](?:[\w.+@-]*\w)?"), "[account]"),
    (_ascii(r"/subscriptions/[^\s\"'<>\[]+"), "[azure-resource]"),
    (_ascii(rf"(?:/|{_OWNER}\W{{0,4}}){_GUID}"), "[azure-id]"),
    (_ascii(r"projects(?:/|%2f)[\w.:@%-]+"), "projects/[project]"),
    (_ascii(r"project(?:[_ ](?:number|id))?(?:\s?[=:]\s?|\s)[\"'`]?(?:\d+|[a-z][a-z0-9]*-[a-z0-9-]+)"), "[project]"),
    (_ascii(_LABELS + rf"(?:{_CLOUD_SUFFIX}|privatelink(?:\.[\w-]+)*|{_PRIVATE_SUFFIX})"), "[host]"),
    (_ascii(rf"(?<!\d)(?<!\d\.){_PRIVATE_NET}\.\d{{1,3}}\.\d{{1,3}}(?!\.*\d)"), "[host]"),
    (_ascii(r"(?<!\d)(?<![0-9a-f]{4}-)\d{12}(?!\d)"), "[account]"),
)


def redact(text: str) -> str:
    """The text with every such name replaced by a fixed word; the same object when there is none."""
    for pattern, word in _RULES:
        replaced, found = pattern.subn(word, text)
        if found:
            text = replaced
    return text
