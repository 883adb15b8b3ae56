# SPDX-License-Identifier: MIT
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tellin.runtime.pieces import Pieces


class Counted(bytes):
    """Bytes that count how often somebody measures or searches them."""

    measured = 0
    searched = 0

    def __len__(self) -> int:
        Counted.measured += 1
        return super().__len__()

    def find(self, *words: Any) -> int:
        Counted.searched += 1
        return super().find(*words)


def test_nothing_is_measured_or_searched_once_for_every_piece_that_comes() -> None:
    count = 2000
    Counted.measured = Counted.searched = 0
    pieces = Pieces(b"")
    seen: Any = (0, 0, None)
    for number in range(count):
        pieces.put(Counted(5000), 5000)
        assert pieces.length == 5000 * (number + 1)
        found, seen = pieces.find(b"\r\n", seen)
        assert found == -1
    assert Counted.measured < 20 * count
    assert Counted.searched < 4 * count
    assert pieces.gather(5000 * count) == bytes(5000 * count)
    assert (pieces.length, pieces.held, pieces.due) == (0, 0, 5000 * count)


@given(st.data())
def test_a_separator_is_found_wherever_it_lies(data: st.DataObject) -> None:
    text = st.text("ab", max_size=6)
    separator = data.draw(st.text("ab", min_size=1, max_size=4))
    pieces = Pieces("")
    whole = ""
    # Pieces in a row become one, unless the one before is long.
    for _ in range(data.draw(st.integers(0, 2))):
        long = data.draw(text) + "c" * 4096
        pieces.put(long, 0)
        whole += long
    skipped = data.draw(st.integers(0, len(whole)))
    pieces.gather(skipped)
    whole = whole[skipped:]
    seen: Any = (0, 0, None)
    for piece in data.draw(st.lists(st.one_of(text, text.map(lambda a: "c" * 4090 + a)))):
        if piece:
            pieces.put(piece, 0)
        whole += piece
        assert pieces.length == len(whole)
        found, seen = pieces.find(separator, seen)
        at = whole.find(separator)
        if at >= 0:
            assert found == at + len(separator)
            assert pieces.gather(found) == whole[:found]
            whole = whole[found:]
            seen = (0, 0, None)
        else:
            assert found == -1
    assert pieces.all() == whole


@given(st.lists(st.tuples(st.integers(0, 9000), st.booleans()), max_size=20))
def test_what_is_owed_is_due_once(steps: list[tuple[int, bool]]) -> None:
    pieces = Pieces(b"")
    owed = put = taken = 0
    for size, credited in steps:
        if size:
            pieces.put(bytes(size), 0 if credited else size)
        put += size
        owed += 0 if credited else size
        if size % 3 == 0:
            pieces.release()
            assert pieces.held == 0
        part = pieces.part(size // 2)
        pieces.unread(part[3:])
        taken += len(part[:3])
        assert pieces.length == put - taken
        assert pieces.held + pieces.due == owed
    pieces.all()
    assert (pieces.held, pieces.due, pieces.length) == (0, owed, 0)
