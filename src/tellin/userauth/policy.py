# SPDX-License-Identifier: MIT
"""What a user must show to get in: methods, their order, and the bounds of trying."""

from collections.abc import Iterable
from typing import Final

from tellin.errors import ConfigError
from tellin.userauth.messages import (
    HOST_BASED,
    HOST_BOUND,
    KEYBOARD_INTERACTIVE,
    NONE,
    PASSWORD,
    PUBLIC_KEY,
)
from tellin.wire import Record

# Names that a list of methods may hold; what is not offered makes its list unreachable.
KNOWN_METHODS: Final = (
    NONE,
    PUBLIC_KEY,
    "gssapi-with-mic",
    PASSWORD,
    KEYBOARD_INTERACTIVE,
    HOST_BASED,
)

Chain = tuple[str, ...]


class Policy(Record):
    """How one user may log in; sshd_config's Match blocks give each user his own.

    ``algorithms`` and ``host_algorithms`` are exact names (R071), for publickey and hostbased;
    ``chains`` is what AuthenticationMethods lists (``parse_chains``): none means that any one
    method is enough. ``devices`` are the submethods of keyboard-interactive that can be asked for.
    """

    algorithms: tuple[str, ...]
    host_algorithms: tuple[str, ...] = ()
    methods: tuple[str, ...] = (PUBLIC_KEY, PASSWORD, KEYBOARD_INTERACTIVE)
    chains: tuple[Chain, ...] = ()
    devices: tuple[str, ...] = ("pam",)
    maximum_tries: int = 6
    required_rsa_size: int = 1024
    permit_empty_passwords: bool = False
    permit_none: bool = False
    banner: str = ""


def parse_chains(lists: Iterable[str]) -> tuple[Chain, ...]:
    """The lists of AuthenticationMethods, such as ``publickey,password``; ``any`` alone gives none."""
    given = tuple(lists)
    if given == ("any",):
        return ()
    return tuple(_parse_chain(text) for text in given)


def _parse_chain(text: str) -> Chain:
    chain = tuple(text.split(","))
    for step in chain:
        method, colon, device = step.partition(":")
        if method not in KNOWN_METHODS or (colon and not device):
            raise ConfigError(f"unknown authentication method {step!r} in {text!r}")
        if colon and method != KEYBOARD_INTERACTIVE:
            raise ConfigError(f"only keyboard-interactive has submethods: {step!r}")
        # A step that anybody passes would make the list shorter than it reads (R087).
        if method == NONE and len(chain) > 1:
            raise ConfigError(f"none cannot be one step of several: {text!r}")
    return chain


class Progress:
    """How far a user has come along the lists of methods that would let him in."""

    def __init__(self, policy: Policy, methods: tuple[str, ...]) -> None:
        self._methods = methods
        offered = {*methods, NONE} if policy.permit_none else set(methods)
        self._any = not policy.chains
        # A list with a method that is not offered can never be finished: nobody starts on it.
        self._left = [
            list(chain)
            for chain in policy.chains
            if all(step.partition(":")[0] in offered for step in chain)
        ]

    def methods(self) -> tuple[str, ...]:
        """The methods that can continue, in the order in which they are offered."""
        return tuple(name for name in self._methods if self.allows(name))

    def allows(self, method: str, device: str = "") -> bool:
        """Whether ``method`` is a next step; with ``device``, whether that submethod is one."""
        if self._any:
            return True
        return any(_fits(chain[0], method, device) for chain in self._left)

    @property
    def free(self) -> bool:
        """Whether any one method is enough."""
        return self._any

    def complete(self, method: str, device: str = "") -> bool:
        """Take the step in every list that begins with it; True when one of them is at its end."""
        if self._any:
            return True
        for chain in self._left:
            if _fits(chain[0], method, device):
                del chain[0]
        return not all(self._left)


def _fits(step: str, method: str, device: str) -> bool:
    # Whole names only: a prefix of a device's name is another device (R088).
    wanted, colon, wanted_device = step.partition(":")
    return wanted == method and (not colon or not device or wanted_device == device)


def plain_method(method: str) -> str:
    """The method whose place ``method`` takes in lists and logs."""
    return PUBLIC_KEY if method == HOST_BOUND else method
