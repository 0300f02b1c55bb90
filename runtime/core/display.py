"""Makes model-written text fit to be shown (W21, W90, W177): nothing invisible, nothing endless. Not for markup:
whoever writes HTML, a terminal or an envelope escapes for it once more.
"""

import re

from runtime.core.limits import LABEL_CHARS_MAX
from runtime.core.model import NANOUSD_PER_USD, CallOptions

UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
"""What people do not see, a model reads, or that reorders what is seen; as it stands in a set of a pattern."""
_UNSEEN = re.compile(f"[{UNSEEN}]")
_CUT = "\u2026"


def visible(text: str) -> str:
    """What cannot be seen or reorders what is seen as `\\u{202E}`; TAB and line ends stay."""
    if text.isprintable():
        return text
    return _UNSEEN.sub(lambda found: f"\\u{{{ord(found.group()):04X}}}", text)


def clip(text: str, chars_max: int) -> str:
    """At most so many characters, with a mark where some are missing."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + _CUT


def dollars(nanousd: int) -> str:
    """To the cent; below a dollar to a hundredth of one."""
    digits = 2 if nanousd >= NANOUSD_PER_USD else 4
    return f"${nanousd / NANOUSD_PER_USD:.{digits}f}"


def label_of(prompt: str, options: CallOptions) -> str:
    """What people know a call by: its own label, else the beginning of its prompt (W47)."""
    return one_line(options.label or prompt, LABEL_CHARS_MAX)


def one_line(text: str, chars_max: int) -> str:
    """For names and labels."""
    return clip(visible(" ".join(text[: 4 * chars_max].split())), chars_max)
