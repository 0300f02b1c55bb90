"""What a run will have used in the end, judged by what its finished calls took (W193). A guess, for people."""

from collections.abc import Collection

from runtime.core.views.counts import Group


def project_tokens(groups: Collection[Group], used_tokens: int) -> int:
    """Tokens so far, and for each call that waits or works the mean of its phase's finished calls; of a phase without
    any the mean of all. What a working call has used already is part of its mean. Unknown calls to come count nothing.
    """
    finished = sum(group.finished for group in groups)
    overall = sum(group.finished_tokens for group in groups) / finished if finished else 0.0
    ahead = 0.0
    for group in groups:
        mean = group.finished_tokens / group.finished if group.finished else overall
        waiting = group.counts.get("queued", 0) + group.counts.get("held", 0)
        ahead += waiting * mean + max(0.0, group.counts.get("running", 0) * mean - group.live_tokens)
    return used_tokens + round(ahead)
