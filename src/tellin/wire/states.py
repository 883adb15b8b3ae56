# SPDX-License-Identifier: MIT
"""What an enumeration of states is, for a fraction of an Enum's price."""

from collections.abc import Iterator

__all__ = ["State"]

# Type checkers take this for true: to them it is an Enum, whose members narrow and can be exhausted.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from enum import Enum as State
else:

    class _States(type):
        """Classes that know their members."""

        def __iter__(cls) -> Iterator["State"]:
            return iter(cls._members)

        def __call__(cls, value: object) -> "State":
            for member in cls._members:
                if member.value == value:
                    return member
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")

    class State(metaclass=_States):
        """``class Half(State): OPEN = "data may come"`` makes members with ``name`` and ``value``.

        To make an Enum takes 600,000 instructions, this 110,000, and a login makes fifteen of them;
        and an Enum's members are hashed in Python. Values must differ.
        """

        __slots__ = ("name", "value")
        _members: tuple["State", ...] = ()

        def __init_subclass__(cls) -> None:
            members = []
            for name, value in list(cls.__dict__.items()):
                if not name.startswith("_") and not callable(value):
                    member = object.__new__(cls)
                    member.name, member.value = name, value
                    setattr(cls, name, member)
                    members.append(member)
            cls._members = tuple(members)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __str__(self) -> str:
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self) -> str:
            # Copied it stays the one member that it is.
            return f"{type(self).__qualname__}.{self.name}"
