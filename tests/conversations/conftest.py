# SPDX-License-Identifier: MIT
"""Two cores in memory, logged in or not, for every conversation."""

import pytest

from tellin.testing import Loopback
from tellin.testing.pairs import Pair, make_pair


@pytest.fixture
def pair() -> Pair:
    """Makes loopbacks."""
    return make_pair


@pytest.fixture
def open_pair() -> Loopback:
    """A loopback whose client is logged in."""
    made = make_pair()
    made.log_in()
    return made
