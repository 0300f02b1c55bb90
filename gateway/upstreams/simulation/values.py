"""JSON values of unknown shape, taken as an object or a list: what is neither counts as empty. No checking."""

from typing import Any, cast

Json = dict[str, Any]


def as_object(value: Any) -> Json:
    """The value when it is an object, else an empty one."""
    return cast(Json, value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value when it is a list, else an empty one."""
    return cast(list[Any], value) if isinstance(value, list) else []


def as_objects(value: Any) -> list[Json]:
    """The objects in a list; anything else in it is left out."""
    return [cast(Json, item) for item in as_list(value) if isinstance(item, dict)]
