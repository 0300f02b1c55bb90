"""What a model is called: the Claude API's id, what each backend makes of it, and what an id tells of its endpoint.

Not whether a model may be used, nor its price. An id that the catalogue does not know is never respelled: it may be a
deployment name or an opaque profile, and one snapshot never stands for another.

    bedrock   [<profile>.]anthropic.<model>[-v<n>[:<n>]], or the ARN of a profile or a foundation model
    vertex    <model>[@<date>]
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FIRST_PARTY_BACKENDS = frozenset({"anthropic", "aws", "simulated"})
"""Backends that Anthropic runs, and the one that plays it: they take the Claude API's ids and aliases as they are."""
GLOBAL = "global"
"""Profile of Bedrock and location of Vertex whose requests may run anywhere, at the list price."""
_GOVCLOUD = "us-gov"
_BEDROCK_MARK = "anthropic."
"""Every id that Bedrock spells has it."""

_telling_arn = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:inference-profile|foundation-model)/(.+)")
"""Other resources are named by their owner, or opaque: what they hold cannot be told."""
_bedrock_id = re.compile(r"(?:([a-z]{2,6}(?:-[a-z]{2,4})?)\.)?(anthropic\.(.+?)(?:-v[0-9]+(?::[0-9]+)?)?)")
_no_snapshot = re.compile(r"(?:@default|[-@]latest)$")


@dataclass(frozen=True, slots=True)
class _Told:
    """What a Bedrock id or ARN says; `profile` None: it names none."""

    profile: str | None
    id: str
    model: str


class Catalogue:
    """The models of a price table by every spelling, and the spelling of each backend."""

    def __init__(self, names: Mapping[str, str], ids: Mapping[str, Mapping[str, str]]) -> None:
        """`names`: every exact spelling to the model's id. `ids`: that id to its spelling by backend."""
        self._names = names
        self._ids = ids

    def canonical(self, model: str) -> str:
        """The Claude API's id of a model that is spelled as a cloud does; any other id, or an unknown one, as it is."""
        spelled_for_a_cloud = "@" in model or (_BEDROCK_MARK in model and _told(model) is not None)
        return (self.known(model) or model) if spelled_for_a_cloud else model

    def known(self, model: str) -> str | None:
        """The catalogue's id of a model by any spelling of it; None when it has no such model."""
        if model in self._names:
            return self._names[model]
        return next((self._names[each] for each in _respelled(model) if each in self._names), None)

    def wire(self, model: str, *, backend: str, profile: str | None) -> str:
        """What `backend` calls a model. `profile` is the prefix of Bedrock's inference profiles.

        Without a profile to choose, an id that is spelled for Bedrock stays as it is there.
        """
        if backend in FIRST_PARTY_BACKENDS:
            return self.canonical(model)
        if backend == "bedrock" and profile is None and _told(model) is not None:
            return model
        known = self.known(model)
        spelled = self._ids.get(known, {}).get(backend) if known is not None else None
        if spelled is None:
            return model
        return f"{profile}.{spelled}" if backend == "bedrock" and profile is not None else spelled


def regional(backend: str, wire_model: str, region: str | None) -> bool:
    """Whether an endpoint keeps requests in a region or geography, which costs more.

    Bedrock tells by the profile in the id: none is the region itself, and an opaque ARN is taken for the dearest.
    """
    if backend == "bedrock":
        told = _told(wire_model)
        return told is None or told.profile != GLOBAL
    return backend == "vertex" and region != GLOBAL


def govcloud(backend: str, wire_model: str, region: str | None) -> bool:
    """Whether a Bedrock endpoint is one of AWS GovCloud, by the id it is asked for or by its region."""
    if backend != "bedrock":
        return False
    told = _told(wire_model)
    in_profile = told is not None and told.profile == _GOVCLOUD
    return in_profile or wire_model.startswith("arn:aws-us-gov:") or (region or "").startswith(f"{_GOVCLOUD}-")


def _told(model: str) -> _Told | None:
    arn = _telling_arn.fullmatch(model)
    found = _bedrock_id.fullmatch(arn[1] if arn else model)
    return _Told(found[1], found[2], found[3]) if found else None


def _respelled(model: str) -> Iterator[str]:
    """Other ways to write the same model and snapshot."""
    told = _told(model)
    if told is not None:
        yield told.id
        yield told.model
    elif model.startswith("claude-"):
        bare = _no_snapshot.sub("", model)
        yield bare
        yield bare.replace("@", "-")
