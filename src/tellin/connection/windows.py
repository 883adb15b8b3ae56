# SPDX-License-Identifier: MIT
"""How much a peer may send us: windows that grow with the link, within one budget a connection.

A fixed window of 2 MiB holds a link of 100 ms to 20 MB/s, whatever it could carry. A window is
therefore quadrupled whenever more than half of it was used up within one round trip: then it was
the window that limited the peer, or soon will. On a short link that never happens, and a window
is only a permission: memory is spent when a sink does not keep up, and then nothing grows.
"""

from typing import Final

from tellin.connection.channel import Channel
from tellin.wire import Record

INITIAL_WINDOW: Final = 2 << 20
LEAST_WINDOW: Final = 64 << 10
GROWTH: Final = 4
# Without a measured round trip a window is judged against this one (seconds).
ASSUMED_ROUND_TRIP: Final = 0.05
# The peer is told of consumed bytes when they amount to this part of the window.
TELL_PART: Final = 8


class WindowPolicy(Record):
    """One connection's receive budget, in bytes, over all its channels."""

    budget: int
    granted: int = 0

    def open(self, channel: Channel, maximum_packet: int, now: float) -> None:
        """Give a new channel its first window."""
        left = self.budget - self.granted
        window = max(min(INITIAL_WINDOW, left // 4), LEAST_WINDOW)
        self.granted += window
        channel.receive_packet = maximum_packet
        channel.receive_window = channel.target = window
        channel.threshold = window // TELL_PART
        channel.epoch_start = now
        channel.epoch_bytes = 0

    def close(self, channel: Channel) -> None:
        """Take the window of a channel that is gone back into the budget."""
        self.granted -= channel.target
        channel.target = 0

    def credit(self, channel: Channel, now: float, round_trip: float | None) -> int:
        """How many bytes to add to the peer's window now."""
        credit, channel.credit = channel.credit, 0
        kept = channel.target - channel.receive_window - credit
        grown = self._growth(channel, now, round_trip or ASSUMED_ROUND_TRIP)
        if kept * 2 > channel.target:
            # It is a sink that limits the peer: a larger window would only be more to keep.
            grown = 0
        if grown:
            self.granted += grown
            channel.target += grown
            channel.threshold = channel.target // TELL_PART
        channel.receive_window += credit + grown
        return credit + grown

    def _growth(self, channel: Channel, now: float, round_trip: float) -> int:
        elapsed = now - channel.epoch_start
        used = channel.epoch_bytes
        if used * 2 <= channel.target and elapsed < round_trip:
            return 0
        channel.epoch_start, channel.epoch_bytes = now, 0
        # Used within a little more than one round trip: clocks and batches are coarse.
        if used * 2 <= channel.target or elapsed > 2 * round_trip:
            return 0
        wanted = channel.target * (GROWTH - 1)
        return max(0, min(wanted, self.budget - self.granted))
