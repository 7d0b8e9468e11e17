"""What request bodies must hold: lookups by dotted path that refuse what is missing or of another type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from tests.azure.emulator.messages import ServiceError

T = TypeVar("T")


def at(body: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a path such as ``properties.vmSize``, None where nothing does."""
    value: Any = body
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def need(body: Mapping[str, Any], path: str, kind: type[T]) -> T:
    """Return what stands at a path. Raises ServiceError 400 where it is missing, empty or of another type."""
    value = at(body, path)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or value in ("", {}):
        raise bad_argument(f"The property '{path}' is required and must be a {kind.__name__}, not {value!r}.")
    return value


def need_one_of(body: Mapping[str, Any], path: str, allowed: Collection[str], default: str | None = None) -> str:
    """Return the text at a path, as ``allowed`` spells it. Raises ServiceError 400 for any other."""
    value = at(body, path)
    value = default if value is None else value
    for each in allowed:
        if isinstance(value, str) and value.lower() == each.lower():
            return each
    raise bad_argument(f"The value {value!r} of '{path}' is not one of {', '.join(allowed)}.")


def check_members(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise ServiceError 400, as ARM does, for a member that no resource has."""
    for name in body:
        if name not in known:
            raise ServiceError(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized: 'Could not find member "
                f"'{name}' on object of type 'ResourceDefinition'. Path '{name}', line 1, position {len(name) + 4}.'.",
            )


def check_texts(body: Mapping[str, Any], path: str) -> None:
    """Raise ServiceError 400 unless what stands at a path, if anything, maps texts to texts."""
    value = at(body, path)
    if value is None:
        return
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise bad_argument(f"The property '{path}' must be an object of strings, not {value!r}.")


def bad_argument(message: str) -> ServiceError:
    """Return the refusal of a value that Azure Machine Learning cannot take."""
    return ServiceError(400, "BadArgument", message)
