# SPDX-License-Identifier: MIT
"""States: what an Enum would be, to those who use it."""

import copy

import pytest

from tellin.connection.channel import Half
from tellin.wire.states import State


class Light(State):
    """A traffic light."""

    RED = "stop"
    GREEN = "go"


def test_members_have_names_and_values_in_their_order() -> None:
    assert [(one.name, one.value) for one in Light] == [("RED", "stop"), ("GREEN", "go")]
    assert all(isinstance(one, Light) for one in Light)
    assert (repr(Light.RED), str(Light.GREEN)) == ("<Light.RED: 'stop'>", "Light.GREEN")


def test_a_member_is_found_by_its_value_and_no_other_is() -> None:
    assert Light("go") is Light.GREEN
    with pytest.raises(ValueError, match="'blink' is not a valid Light"):
        Light("blink")


def test_members_are_equal_to_themselves_alone() -> None:
    assert len({Light.RED, Light.GREEN, Light("stop")}) == 2
    assert Light.RED != Half.OPEN
    assert Light.RED != "stop"


def test_a_copy_is_the_same_member() -> None:
    assert copy.deepcopy(Half.EOF) is Half.EOF
    assert copy.copy(Light.RED) is Light.RED
