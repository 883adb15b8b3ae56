# SPDX-License-Identifier: MIT
"""When keys are pressed is nobody's business: what is typed leaves at a steady beat, among fakes.

Whoever watches the wire sees no letters, but one small packet for each key, and the time between
two keys says a good deal about which they were. So from the first key on what is typed waits for
the next beat; a beat without a key sends a PING of the same size, which the server answers with a
PONG as it answers a key with an echo; and that goes on for a while after the last key, so that
its end says nothing either. (ObscureKeystrokeTiming; OpenSSH does the same since 9.5.)
"""

import os
from collections.abc import Callable
from typing import Final, Protocol

from tellin.runtime.journal import DEBUG3, Journal
from tellin.runtime.loop import Cancellable, Loop

# A PING with this is as long as CHANNEL_DATA with one letter.
CHAFF: Final = b"PING!"
# So much at once is not typed but pasted: nothing is to be learnt from its time, and much to be
# lost by holding it up.
_MANY: Final = 128
# How long fakes follow the last key: never the same, or their end would tell when that was.
_SHORTEST: Final = 1.0
_VARYING: Final = 2.0
# Each beat is a little early or late: a beat as exact as our clock would be known again elsewhere.
_FUZZ: Final = 0.1


class SendingEnd(Protocol):
    """The part of a channel that this uses."""

    def room(self) -> int:
        """How many bytes may be sent now."""

    def send(self, data: memoryview, /) -> int:
        """Send as much of a copy as there is room for."""


class Outlet(Protocol):
    """The part of a link that this uses."""

    def flush(self) -> None:
        """Send what is there, at once."""


class Keystrokes:
    """Stands between a terminal and its channel; ``edit`` sees what is typed.

    ``fake`` sends a PING with ``CHAFF``; None where the server does not know it: then only what is
    typed keeps to the beat.
    """

    def __init__(
        self,
        loop: Loop,
        channel: SendingEnd,
        link: Outlet,
        *,
        milliseconds: int,
        fake: Callable[[], object] | None,
        edit: Callable[[bytes], bytes] | None = None,
        journal: Journal,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._link = link
        self._interval = milliseconds / 1000
        self._fake = fake
        self._edit = edit
        self._journal = journal
        self._random = random
        self._beat: Cancellable | None = None
        self._due = 0.0
        self._until = 0.0
        self._typed = b""
        self._fakes = 0
        self._when_out: Callable[[], object] | None = None

    @property
    def active(self) -> bool:
        """Whether the beat goes."""
        return self._beat is not None

    def edit(self, data: bytes) -> bytes:
        """What of ``data`` is to be sent now; the rest follows with the beat."""
        if self._edit is not None:
            data = self._edit(data)
        if not data:
            return data
        if self._beat is None:
            # The first key of a run leaves as it comes: there is nothing yet to compare it with.
            if len(data) < _MANY:
                self._begin()
            return data
        typed = self._typed + data
        if len(typed) >= _MANY:
            self._typed = b""
            self._rest("much to send")
            return typed
        self._typed = typed
        self._go_on(self._loop.time())
        return b""

    def finish(self, done: Callable[[], object]) -> None:
        """Nothing more will be typed: call ``done`` once all of it is sent."""
        self._when_out = done
        if self._typed and self._send_typed():
            self._link.flush()
        self._tell_if_out()

    def close(self) -> None:
        """Drop what is not sent, and stop."""
        self._typed = b""
        self._when_out = None
        self._rest("no more input")

    # The beat

    def _begin(self) -> None:
        now = self._loop.time()
        self._fakes = 0
        self._due = now
        self._go_on(now)
        self._arm(now)
        self._journal.say(
            DEBUG3, f"keystroke timing: hidden, a beat of {self._interval * 1000:g} ms"
        )

    def _go_on(self, now: float) -> None:
        self._until = now + _SHORTEST + self._fraction() * _VARYING

    def _arm(self, now: float) -> None:
        step = self._interval * (1 + _FUZZ * (2 * self._fraction() - 1))
        self._due += step
        if self._due <= now:
            # Beats that were missed, because the machine slept or was busy, are not made up for.
            self._due = now + step
        self._beat = self._loop.call_at(self._due, self._strike)

    def _strike(self) -> None:
        now = self._loop.time()
        if self._typed:
            sent = self._send_typed()
        elif now >= self._until:
            self._rest("nothing typed for a while")
            return
        else:
            sent = self._send_fake()
        self._arm(now)
        if sent:
            self._link.flush()
        self._tell_if_out()

    def _send_typed(self) -> bool:
        count = self._channel.send(memoryview(self._typed))
        self._typed = self._typed[count:]
        return bool(count)

    def _send_fake(self) -> bool:
        # No room: the window is full, or keys are being exchanged. A letter could not leave either.
        if self._fake is None or not self._channel.room():
            return False
        self._fake()
        self._fakes += 1
        return True

    def _rest(self, why: str) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
            self._journal.say(DEBUG3, f"keystroke timing: plain again, {why}: {self._fakes} fakes")

    def _tell_if_out(self) -> None:
        if self._when_out is not None and not self._typed:
            done, self._when_out = self._when_out, None
            self._rest("no more input")
            done()

    def _fraction(self) -> float:
        return int.from_bytes(self._random(4), "big") / 2**32
