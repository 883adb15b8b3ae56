# SPDX-License-Identifier: MIT
"""Where bytes wait on their way in and out: fixed blocks and cursors; nothing is cut or re-sliced."""

from typing import Final

# A light connection lives in small blocks; one in bulk gets blocks that hold eight packets of
# 32 KiB with their headers and tags. Both sizes are lent from a pool, so that an idle
# connection holds none.
SMALL_BLOCK: Final = 8192
LARGE_BLOCK: Final = 8 * (32768 + 128)
_POOLED: Final = 16

# The views are lent, not the arrays: an exchange of small packets borrows and returns for each.
_pool: dict[int, list[memoryview]] = {SMALL_BLOCK: [], LARGE_BLOCK: []}
_NOTHING: Final = memoryview(b"")


def _borrow(size: int) -> memoryview:
    kind = SMALL_BLOCK if size <= SMALL_BLOCK else max(LARGE_BLOCK, size)
    # pop() alone is atomic: loops in several threads share the pool.
    try:
        return _pool[kind].pop()
    except (KeyError, IndexError):
        return memoryview(bytearray(kind))


def _give_back(view: memoryview) -> None:
    shelf = _pool.get(len(view))
    if shelf is not None and len(shelf) < _POOLED:
        shelf.append(view)


class ReceiveBuffer:
    """What has arrived and is not parsed yet: ``data[at:end]``.

    ``writable`` hands out room, ``filled`` counts what came into it, and the parser moves ``at``.
    """

    __slots__ = ("_eager", "at", "data", "end")

    def __init__(self) -> None:
        self._eager = False
        self.data = _NOTHING  # a block, while there is one
        self.at = 0
        self.end = 0

    def __len__(self) -> int:
        return self.end - self.at

    def writable(self, hint: int = 0) -> memoryview:
        """Room for at least ``hint`` bytes, and never none; valid until the next call here."""
        wanted = LARGE_BLOCK // 2 if self._eager else SMALL_BLOCK // 2
        wanted = max(wanted, hint)
        data, at, end = self.data, self.at, self.end
        if len(data) - end >= wanted:
            return data[end:]
        kept = end - at
        if data and len(data) - kept >= wanted:
            # bytes() first: the two ranges may overlap.
            data[:kept] = bytes(data[at:end])
        else:
            block = _borrow(kept + wanted)
            if data:
                block[:kept] = data[at:end]
                _give_back(data)
            self.data = data = block
        self.at, self.end = 0, kept
        return data[kept:]

    def filled(self, count: int) -> None:
        """``count`` bytes were written into the room that ``writable`` gave."""
        # A read that fills all it was given tells of more behind it: the next room is a large one.
        self._eager = self.end + count == len(self.data) or (
            self._eager and count > SMALL_BLOCK // 2
        )
        self.end += count

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in, for a driver that has it already."""
        room = self.writable(len(data))
        room[: len(data)] = data
        self.end += len(data)

    def rest(self) -> None:
        """Give the block back if nothing is left in it."""
        if self.at == self.end and self.data:
            _give_back(self.data)
            self.data = _NOTHING
            self.at = self.end = 0


class _Block:
    __slots__ = ("end", "start", "view")

    def __init__(self, size: int) -> None:
        self.view = _borrow(size)
        self.start = 0
        self.end = 0


class SendBuffer:
    """What is to be sent: packets are built in place at the back and leave at the front by ``sent``."""

    __slots__ = ("_blocks", "size")

    def __init__(self) -> None:
        # A list: an empty deque is 700 bytes, of which an idle connection has several.
        self._blocks: list[_Block] = []
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def reserve(self, wanted: int, least: int = 0) -> tuple[memoryview, int, int]:
        """A block, and from where to where in it may be written now: ``wanted`` bytes, or at least ``least``.

        Nothing is in the buffer before ``commit``; a second ``reserve`` gives the same place again.
        """
        if self._blocks:
            block = self._blocks[-1]
            end = block.end
            room = len(block.view) - end
            if room >= wanted:
                return block.view, end, end + wanted
            if least and room >= least:
                return block.view, end, end + room
        block = _Block(wanted if wanted <= LARGE_BLOCK or not least else max(least, LARGE_BLOCK))
        self._blocks.append(block)
        return block.view, 0, min(wanted, len(block.view))

    def commit(self, count: int) -> None:
        """The first ``count`` bytes of the reserved place are now part of the buffer."""
        self._blocks[-1].end += count
        self.size += count

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in."""
        view, start, _ = self.reserve(len(data))
        view[start : start + len(data)] = data
        self.commit(len(data))

    def views(self) -> list[memoryview]:
        """All that waits, in order; the views are dead after ``sent``, and nothing in them moves before."""
        blocks = self._blocks
        if len(blocks) == 1:
            block = blocks[0]
            return [block.view[block.start : block.end]]
        return [block.view[block.start : block.end] for block in blocks if block.end > block.start]

    def sent(self, count: int) -> None:
        """The first ``count`` bytes have left."""
        self.size -= count
        blocks = self._blocks
        while blocks:
            block = blocks[0]
            unsent = block.end - block.start
            if count < unsent:
                block.start += count
                return
            count -= unsent
            del blocks[0]
            _give_back(block.view)
