"""Settings that come as names and values become frozen dataclasses here, once, and what is unknown is an error."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Settings = TypeVar("Settings")
_CONVERTERS = {int: (int, "a whole number"), float: (float, "a number"), str: (str, "a text")}


def check_names(kind: type, names: Iterable[str], what: str) -> None:
    """ValueError for names that the dataclass `kind` has no field of, and for missing ones that have no default.

    The message calls them `what`, such as "parameters".
    """
    given, known = set(names), [field.name for field in fields(kind)]
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    if unknown := sorted(given - set(known)):
        raise ValueError(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"missing {what}: {', '.join(missing)}")


def from_parameters(kind: type[Settings], parameters: Mapping[str, str]) -> Settings:
    """The dataclass `kind`, its fields int, float or str, of the `parameters` in a config.pbtxt, which are all texts.

    ValueError for those that are unknown, missing or no number.
    """
    check_names(kind, parameters, "parameters")
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # of a type variable it cannot say that it is a dataclass
        if field.name in parameters:
            convert, expected = _CONVERTERS[field.type]  # type: ignore[index]
            try:
                values[field.name] = convert(parameters[field.name])
            except ValueError:
                raise ValueError(f"{field.name} is {parameters[field.name]!r}, and must be {expected}") from None
    return kind(**values)
