# SPDX-License-Identifier: MIT
"""A peer without strict key exchange is served, and noted."""

from pathlib import Path

import pytest
from tests.conversations.bare import without_strictness
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller

from tellin.keys.formats import load_private_key


def test_r005_a_server_notes_a_client_without_strict_key_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "The client does not do strict key exchange"
    with TellinServer(tmp_path) as server:
        key = load_private_key(server.identity.path.read_bytes())
        with Caller(server.port) as caller:
            caller.log_in(server.user, key)
            assert caller.core.strict
            server.wait_for_log("User child is on pid")
        assert note not in server.log()
        without_strictness(monkeypatch)
        with Caller(server.port) as caller:
            caller.log_in(server.user, key)
            server.wait_for_log(note)
