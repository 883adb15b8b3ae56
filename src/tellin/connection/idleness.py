# SPDX-License-Identifier: MIT
"""Channels that nobody uses: how long one may be silent, all of them, and a connection without any."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from tellin.connection.channel import Channel, Half, Standing
from tellin.wire import Record

# What ssh_config(5) and sshd_config(5) call channels that have another name on the wire.
_ALSO = {
    "auth-agent@openssh.com": "agent-connection",
    "tun@openssh.com": "tun-connection",
    "x11": "x11-connection",
}
# How much later than it is due a channel may be closed, as a part of its time: its use is looked at
# this often, instead of with every packet.
_GRAIN = 0.1
_LEAST_GRAIN = 1.0


class IdleRules(Record):
    """After how many seconds of silence what is closed; none of them for a time of 0."""

    channels: Sequence[tuple[str, float]] = ()
    """Patterns of channel types, the first that fits counts."""
    together: float = 0.0
    """All channels, once nothing has moved on any of them for so long."""
    unused: float | None = None
    """The connection, once it has had no channel for so long."""


def idle_rules(times: Iterable[tuple[str, int]], *, unused: int | None = None) -> IdleRules:
    """From the values of ChannelTimeout and UnusedConnectionTimeout; ``global`` is no type."""
    by_type = dict(times)
    together = by_type.pop("global", 0)
    return IdleRules(tuple(by_type.items()), together=together, unused=unused)


class Idleness:
    """Looks at the channels of one connection now and then.

    A channel's ``moved`` is set with everything that it sends or receives, and taken back here.
    ``fits`` compares a type with a pattern. What is over by the rules is handed to ``on_idle``, with
    the seconds that were too many; ``on_unused`` is called once.
    """

    __slots__ = (
        "_channels",
        "_empty_since",
        "_fits",
        "_last",
        "_on_idle",
        "_on_unused",
        "_rules",
        "_used",
        "at",
    )

    def __init__(
        self,
        channels: Mapping[int, Channel],
        rules: IdleRules,
        *,
        now: float,
        fits: Callable[[str, str], bool],
        on_idle: Callable[[Channel, float], object],
        on_unused: Callable[[float], object],
    ) -> None:
        self._channels = channels
        self._rules = rules
        self._fits = fits
        self._on_idle = on_idle
        self._on_unused = on_unused
        # Last use of each channel; the object, since a number is given to another one later.
        self._last: dict[int, tuple[Channel, float]] = {}
        self._used = now
        self._empty_since: float | None = now
        self.at: float | None = None
        """When to look again."""
        self._plan(now)

    def _plan(self, now: float) -> None:
        rules = self._rules
        times = [*(time for _, time in rules.channels), rules.together, rules.unused or 0.0]
        grains = [min(time, max(_LEAST_GRAIN, time * _GRAIN)) for time in times if time > 0]
        self.at = now + min(grains) if grains else None

    def look(self, now: float) -> None:
        """Time has passed: close what is over."""
        open_now = [one for one in self._channels.values() if one.standing is Standing.OPEN]
        overdue: dict[Channel, float] = {}
        for channel in open_now:
            known = self._last.get(channel.number)
            if channel.moved or known is None or known[0] is not channel:
                channel.moved = False
                self._used = now
                known = self._last[channel.number] = (channel, now)
            limit = self._limit(channel)
            if limit and now - known[1] >= limit and channel.sending is not Half.CLOSED:
                overdue[channel] = limit
        together = self._rules.together
        if together and open_now and now - self._used >= together:
            overdue |= {
                channel: together
                for channel in open_now
                if channel not in overdue and channel.sending is not Half.CLOSED
            }
        self._last = {number: kept for number, kept in self._last.items() if kept[0] in open_now}
        self._plan(now)
        for channel, limit in overdue.items():
            self._on_idle(channel, limit)
        self._look_at_all(now)

    def _look_at_all(self, now: float) -> None:
        unused = self._rules.unused
        if self._channels:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        elif unused and now - self._empty_since >= unused:
            self.at = None
            self._on_unused(unused)

    def _limit(self, channel: Channel) -> float:
        name = _ALSO.get(channel.channel_type, channel.channel_type)
        for pattern, time in self._rules.channels:
            # ``session`` is each kind of them; ``session:shell`` and its kin are one.
            if self._fits(name, pattern) or (
                channel.purpose and self._fits(f"{name}:{channel.purpose}", pattern)
            ):
                return time
        return 0.0
