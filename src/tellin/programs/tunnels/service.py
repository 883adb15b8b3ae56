# SPDX-License-Identifier: MIT
"""``tellin tunnel`` while it runs: its tunnels, its log, its status, and word to whoever started it."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tellin.client.forwarding.remote_forwardings import StandingForwarding
from tellin.client.tunnel import Tunnel, TunnelState
from tellin.errors import TellinError, UsageError
from tellin.programs.tunnels.claim import Claim
from tellin.programs.tunnels.plan import Plan
from tellin.programs.tunnels.status import StatusPlace, shown_error
from tellin.runtime.journal import Journal
from tellin.runtime.supervisor import (
    ALIVE,
    READY,
    STOPPING,
    reloading,
    tell_supervisor,
    watchdog_seconds,
)

FAILED: Final = 255
_SETTLED: Final = (TunnelState.UP, TunnelState.WAITING, TunnelState.CLOSED)


class Running:
    """One tunnel as it runs; ``say`` takes its lines of log."""

    def __init__(self, plan: Plan, longest_wait: float, say: Callable[[str], object]) -> None:
        self.plan = plan
        self.settled = False
        self.fault: BaseException | None = None
        self._say = say
        self._said = ""
        self._said_of: dict[int, str] = {}
        self._there: list[StandingForwarding] = []
        self._claim: Claim | None = None
        self.tunnel: Tunnel = plan.tunnel(longest_wait, self._changed)
        self.on_change: Callable[[], object] = _nothing

    async def start(self) -> None:
        """Listen, and begin; what cannot be listened on ends it, and so does another one of the same."""
        try:
            self._claim = Claim(self.plan)
        except UsageError as error:
            self.fault = error
            self._say(shown_error(error))
            await self.tunnel.aclose()
            return
        try:
            for forward in self.plan.here:
                listening = await self.plan.listen(forward)
                await self.tunnel.forward(forward, listening=listening)
        except (OSError, TellinError) as error:
            self.fault = error
            self._say(f"cannot listen: {shown_error(error)}")
            await self.tunnel.aclose()
        else:
            self._there = [
                self.tunnel.stand(forward, self.plan.config.permit_remote_open)
                for forward in self.plan.there
            ]
            self.tunnel.start()

    async def stop(self) -> None:
        """End it."""
        await self.tunnel.aclose()

    @property
    def error(self) -> BaseException | None:
        """What is wrong, if something is."""
        return self.fault or self.tunnel.error

    def _changed(self, tunnel: Tunnel) -> None:
        self.settled = self.settled or tunnel.state in _SETTLED
        if tunnel.state is TunnelState.CLOSED and self._claim is not None:
            self._claim.release()
        if tunnel.state is TunnelState.UP:
            connection = tunnel.connection
            assert connection is not None
            address, port = connection.address
            self._note(f"up: {connection.user}@{address} port {port}")
        elif tunnel.state is TunnelState.WAITING:
            # The same failure again is no change.
            self._note(f"down: {shown_error(tunnel.error)}")
        elif tunnel.state is TunnelState.CLOSED and self.fault is None:
            self.fault = tunnel.fault
            self._note(
                f"given up: {shown_error(tunnel.fault)}" if tunnel.fault is not None else "closed"
            )
        if tunnel.state is TunnelState.UP:
            for number, one in enumerate(self._there):
                self._note_there(number, one)
        else:
            self._said_of.clear()
        self.on_change()

    def _note_there(self, number: int, one: StandingForwarding) -> None:
        said = ""
        if one.refused is not None:
            said = f"{one.asked.listening}: {shown_error(one.refused)}; it is asked again"
        elif one.listening and self._said_of.get(number):
            said = f"{one.asked.listening}: the server listens now"
        if said and said != self._said_of.get(number):
            self._said_of[number] = said
            self._say(said)

    def _note(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._say(line)

    def describe(self) -> dict[str, Any]:
        """What --status tells."""
        tunnel, now = self.tunnel, asyncio.get_running_loop().time()
        connection = tunnel.connection
        config = self.plan.config
        address, port = (config.host, config.port)
        if connection is not None:
            address, port = connection.address
        turned = {one.forward.listening: one.turned_away for one in tunnel.forwardings}
        return {
            "name": self.plan.name,
            "state": tunnel.state.value,
            "seconds": round(now - tunnel.since, 3) if tunnel.since else 0,
            "host": config.host,
            "address": address,
            "port": port,
            "user": connection.user if connection is not None else config.user or "",
            "connected": tunnel.connected,
            "tries": tunnel.tries,
            "next_try": None if tunnel.next_try is None else max(0, tunnel.next_try - now),
            "error": shown_error(self.error),
            "open": tunnel.open,
            "forwards": [
                {
                    "kind": "dynamic" if one.is_socks else "local",
                    "listen": one.listening,
                    "to": one.leading or "socks",
                    "turned_away": turned.get(one.listening, 0),
                }
                for one in self.plan.here
            ]
            + [
                {
                    "kind": "remote",
                    "listen": one.asked.listening,
                    "to": one.asked.leading or "socks",
                    "listening": one.listening,
                    "listening_port": one.port,
                    "error": shown_error(one.refused),
                }
                for one in self._there
            ],
        }


def _nothing() -> None:
    """Nobody listens yet."""


class Service:
    """All tunnels of one program; ``read`` gives what the configuration says now."""

    def __init__(
        self, read: Callable[[], list[Plan]], journal: Journal, *, longest_wait: float
    ) -> None:
        self._read = read
        self._journal = journal
        self._longest_wait = longest_wait
        self._running: dict[str, Running] = {}
        self._place = StatusPlace(self.describe)
        self._ready = False
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._change = asyncio.Event()

    async def run(self, plans: list[Plan]) -> int:
        """Go on until a signal says otherwise, or until all have been given up; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._place.open()
        watchdog = loop.create_task(self._stay_alive())
        try:
            for plan in plans:
                await self._start(plan)
            self._changed()
            while not self._stopping.is_set() and not self._all_given_up():
                await self._next()
                if self._reload.is_set():
                    self._reload.clear()
                    await self._reread()
            self._tell(STOPPING)
        finally:
            watchdog.cancel()
            self._place.close()
            given_up = self._all_given_up() and not self._stopping.is_set()
            await asyncio.gather(*(one.stop() for one in self._running.values()))
        return FAILED if given_up else 0

    def describe(self) -> dict[str, Any]:
        """What --status tells of this program."""
        return {
            "pid": os.getpid(),
            "tunnels": [one.describe() for one in self._running.values()],
        }

    async def _next(self) -> None:
        """Wait for a signal, or a change."""
        self._change = asyncio.Event()
        waiting = [
            asyncio.ensure_future(event.wait())
            for event in (self._stopping, self._reload, self._change)
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _start(self, plan: Plan) -> None:
        made = Running(
            plan, self._longest_wait, lambda line: self._journal.info(f"{plan.name}: {line}")
        )
        made.on_change = self._changed
        self._running[plan.name] = made
        await made.start()

    async def _reread(self) -> None:
        """What has changed in the configuration is begun anew; all else goes on."""
        self._tell(reloading())
        try:
            plans = await asyncio.get_running_loop().run_in_executor(None, self._read)
        except (TellinError, OSError) as error:
            self._journal.error(f"the configuration stays as it was: {shown_error(error)}")
        else:
            await self._exchange(plans)
        self._tell(READY)
        self._changed()

    async def _exchange(self, plans: list[Plan]) -> None:
        wanted = {plan.name: plan for plan in plans}
        for name, one in list(self._running.items()):
            plan = wanted.get(name)
            if plan is None or one.fault is not None or not plan.same(one.plan):
                del self._running[name]
                await one.stop()
        for name, plan in wanted.items():
            if name not in self._running:
                await self._start(plan)
        self._journal.info(f"configuration read: {len(self._running)} tunnels")

    def _all_given_up(self) -> bool:
        states = [one.tunnel.state for one in self._running.values()]
        return all(state is TunnelState.CLOSED for state in states)

    def _changed(self) -> None:
        self._change.set()
        running = self._running.values()
        up = sum(one.tunnel.state is TunnelState.UP for one in running)
        self._tell(f"STATUS={up} of {len(running)} tunnels up")
        if self._ready or self._all_given_up():
            return
        if all(one.settled for one in running):
            # All is listened on that can be, and each has had its first try.
            self._ready = True
            self._tell(READY)

    def _tell(self, word: str) -> None:
        with suppress(OSError):
            tell_supervisor(word)

    async def _stay_alive(self) -> None:
        seconds = watchdog_seconds()
        while seconds is not None:
            self._tell(ALIVE)
            await asyncio.sleep(seconds / 2)
