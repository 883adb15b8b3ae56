# SPDX-License-Identifier: MIT
"""What a client has its server listen on: whose answer is whose, and what of it is believed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellin.client.channel_owners import tell_owner
from tellin.client.forwarding.incoming import Incoming
from tellin.client.forwarding.listening import Listening, Place, told_host
from tellin.client.preferences import CLIENT_SETTINGS
from tellin.connection.channel import Channel
from tellin.connection.forwarding import (
    FORWARDED_PORT,
    FORWARDED_SOCKET,
    LISTEN_PORT,
    LISTENING,
    ForwardedPort,
    ForwardedSocket,
    PortChosen,
)
from tellin.connection.machine import ConnectionSettings
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.events import (
    ChannelAsked,
    ChannelOpenRefused,
    GlobalRequested,
)
from tellin.testing.pairs import make_pair


class Scene:
    """A client that has a server listen, and a server whose answers the test gives when it likes."""

    def __init__(self) -> None:
        self.pair = make_pair(
            client_core={"connection": CLIENT_SETTINGS},
            server_core={"connection": ConnectionSettings(global_requests=LISTENING)},
        )
        self.pair.log_in()
        self.pair.answers.pop(ChannelAsked)
        core: Any = self.pair.client
        self.incoming = Incoming(core)
        self.listening = Listening(core, self.incoming)
        self.undecided: list[GlobalRequested] = []
        self.refusals: list[int] = []

    def settle(self) -> None:
        """Carry everything, and hand out what came of it."""
        while True:
            self.pair.pump()
            ours, self.pair.client_events[:] = list(self.pair.client_events), []
            theirs, self.pair.server_events[:] = list(self.pair.server_events), []
            for event in ours:
                if not tell_owner(event) and isinstance(event, ChannelAsked):
                    self.incoming.asked(event)
            self.undecided += [one for one in theirs if isinstance(one, GlobalRequested)]
            self.refusals += [one.reason for one in theirs if isinstance(one, ChannelOpenRefused)]
            if not ours and not theirs:
                return

    def answer(self, at: int, *, success: bool, port: int = 0) -> GlobalRequested:
        """Decide one of the requests that wait, whichever."""
        request = self.undecided.pop(at)
        data = PortChosen(port).encode() if port else b""
        self.pair.server.answer_global(success, data if success else b"", request.debt)
        return request

    def comes(self, place: Place) -> bool:
        """Somebody comes to that place of the server: whether we take it."""
        self.refusals.clear()
        if isinstance(place, tuple):
            self.pair.server.open_channel(
                FORWARDED_PORT, ForwardedPort(*place, "192.0.2.1", 5).encode()
            )
        else:
            self.pair.server.open_channel(FORWARDED_SOCKET, ForwardedSocket(place, b"").encode())
        self.settle()
        assert self.refusals in ([], [Reason.ADMINISTRATIVELY_PROHIBITED])
        return not self.refusals


class Taker:
    """Takes channels, and remembers them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.taken = 0

    def __call__(self, channel: Channel, origin: tuple[str, int]) -> None:
        self.taken += 1
        self.scene.pair.client.accept_channel(channel)
        channel.close()


PLACES: tuple[Place, ...] = (("localhost", 8080), ("", 8080), ("localhost", 0), b"/run/s")
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(PLACES)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("settle")),
    ),
    max_size=24,
)


class Mixture:
    """Forwards and their ends in any order, and a server that decides them in any order."""

    def __init__(self) -> None:
        self.scene = Scene()
        # In the order in which they were asked: what was decided, and what its asker heard.
        self.decided: dict[int, tuple[bool, int]] = {}
        self.heard: dict[int, tuple[bool, int]] = {}
        self.asked = 0
        self.standing: list[tuple[Place, Taker]] = []
        self.requests: list[GlobalRequested] = []
        self.ports = iter(range(20000, 30000))

    def ask(self, place: Place) -> None:
        number, taker = self._next(), Taker(self.scene)

        def answered(success: bool, found: Place) -> None:
            self.heard[number] = success, 0 if found == place else int(found[1])
            if success:
                self.standing.append((found, taker))

        self.scene.listening.ask(place, taker, answered)

    def cancel(self, which: int) -> None:
        if self.standing:
            number = self._next()
            place, taker = self.standing.pop(which % len(self.standing))

            def answered(success: bool) -> None:
                self.heard[number] = success, 0

            self.scene.listening.cancel(place, taker, answered)

    def answer(self, which: int, success: bool) -> None:
        if undecided := self.scene.undecided:
            at = which % len(undecided)
            request = undecided[at]
            chooses = request.name == LISTEN_PORT and request.data.endswith(bytes(4))
            port = next(self.ports) if success and chooses else 0
            self.decided[self.requests.index(request)] = success, port
            self.scene.answer(at, success=success, port=port)

    def settle(self) -> None:
        before = len(self.scene.undecided)
        self.scene.settle()
        self.requests += self.scene.undecided[before:]

    def _next(self) -> int:
        self.asked += 1
        return self.asked - 1


@settings(max_examples=60, deadline=None)
@given(ACTS)
def test_r147_answers_to_mixed_forwards_and_cancels_reach_whoever_asked(acts: Any) -> None:
    mixture = Mixture()
    for name, *words in acts:
        getattr(mixture, name)(*words)
    mixture.settle()
    while mixture.scene.undecided:
        mixture.answer(-1, True)
    mixture.settle()
    assert mixture.heard == mixture.decided
    assert len(mixture.heard) == mixture.asked
    # And what comes is taken by whoever has the place, and by nobody where it was given up.
    for place in {*PLACES, *(place for place, _ in mixture.standing)}:
        owners = [taker for at, taker in mixture.standing if at == place]
        before = sum(taker.taken for taker in owners)
        assert mixture.scene.comes(place) == bool(owners)
        assert sum(taker.taken for taker in owners) == before + bool(owners)


@pytest.mark.parametrize(
    "place",
    [("localhost", 8081), ("127.0.0.1", 8080), ("", 8080), ("LOCALHOST", 8080), b"/run/x", b""],
)
def test_r146_only_what_was_asked_for_is_taken_by_address_and_port(place: Place) -> None:
    scene = Scene()
    taker = Taker(scene)
    for asked in (("localhost", 8080), b"/run/s"):
        scene.listening.ask(asked, taker, lambda success, found: None)
    scene.settle()
    while scene.undecided:
        scene.answer(0, success=True)
    scene.settle()
    assert not scene.comes(place)
    assert taker.taken == 0
    for asked in (("localhost", 8080), b"/run/s"):
        assert scene.comes(asked)
    assert taker.taken == 2


@pytest.mark.parametrize("channel_type", ["forwarded-tcpip", "x11", "auth-agent@openssh.com"])
def test_r146_who_has_asked_for_nothing_takes_nothing(channel_type: str) -> None:
    scene = Scene()
    scene.pair.server.open_channel(channel_type, ForwardedPort("", 80, "", 0).encode())
    scene.settle()
    assert scene.refusals == [Reason.ADMINISTRATIVELY_PROHIBITED]


def test_a_refused_place_takes_nothing_and_a_port_is_known_only_once_it_is_told() -> None:
    scene = Scene()
    taker, answers = Taker(scene), []
    for asked in (("localhost", 8080), ("localhost", 0)):
        scene.listening.ask(asked, taker, lambda success, found: answers.append((success, found)))
    scene.settle()
    assert not scene.comes(("localhost", 0))
    assert not scene.comes(("localhost", 20000))
    scene.answer(0, success=False)
    scene.answer(0, success=True, port=20000)
    scene.settle()
    assert answers == [(False, ("localhost", 8080)), (True, ("localhost", 20000))]
    assert not scene.comes(("localhost", 8080))
    assert scene.comes(("localhost", 20000))


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\0\0"])
def test_a_chosen_port_that_cannot_be_read_ends_the_connection(data: bytes) -> None:
    scene = Scene()
    answers: list[bool] = []
    scene.listening.ask(
        ("localhost", 0), Taker(scene), lambda success, found: answers.append(success)
    )
    scene.settle()
    scene.pair.server.answer_global(True, data, scene.undecided.pop().debt)
    scene.settle()
    assert answers == [False]
    assert scene.pair.client.closed


@pytest.mark.parametrize("port", [65536, 2**32 - 1])
def test_case_177_a_chosen_port_that_is_none_is_a_no(port: int) -> None:
    scene = Scene()
    answers: list[tuple[bool, Place]] = []
    scene.listening.ask(
        ("localhost", 0), Taker(scene), lambda success, found: answers.append((success, found))
    )
    scene.settle()
    scene.answer(0, success=True, port=port)
    scene.settle()
    assert answers == [(False, ("localhost", port))]
    assert not scene.comes(("localhost", port))


@pytest.mark.parametrize("channel_type", [FORWARDED_PORT, FORWARDED_SOCKET])
def test_a_channel_whose_place_is_cut_off_ends_the_connection(channel_type: str) -> None:
    scene = Scene()
    scene.pair.server.open_channel(channel_type, b"\0\0\0\x09local")
    scene.settle()
    assert scene.pair.client.closed


def test_an_address_is_told_as_rfc_4254_has_it() -> None:
    assert [told_host(one) for one in (None, "", "*", "localhost", "::1")] == [
        "localhost", "", "", "localhost", "::1",
    ]  # fmt: skip
