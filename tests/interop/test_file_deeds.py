# SPDX-License-Identifier: MIT
"""Everybody's clients with files at tellin's server, and tellin's clients at everybody's: ``file_deeds`` is the table."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.file_deeds import (
    CLIENTS,
    DEEDS,
    ODD_NAME,
    OURS,
    Cell,
    Scene,
    cells,
    lost_in_trees,
    odd_ones,
    one_odd_name,
)
from tests.interop.file_servers import FILE_SERVERS
from tests.interop.odd_names import ODD
from tests.interop.servers import Server

CELLS = list(cells())


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """``serving("dropbear")``: a server of that kind with files to work with, for all tests."""
    started: dict[str, Server] = {}

    def server(name: str) -> Server:
        if name not in started:
            started[name] = FILE_SERVERS[name](tmp_path_factory.mktemp(name)).start()
        return started[name]

    yield server
    for one in started.values():
        one.stop()


def scene_of(cell: Cell, serving: Callable[[str], Server], tmp_path: Path) -> Scene:
    here, there, own = (tmp_path / name for name in ("here", "there", "own"))
    for folder in (here, there, own):
        folder.mkdir()
    kind = {**CLIENTS, **OURS}[cell.client]
    client = kind(serving(cell.server).target, here, there, own)
    pair = cell.client, cell.server
    return Scene(client, here, there, odd_ones(*pair), lost_in_trees(*pair))


def done(cell: Cell, scene: Scene) -> None:
    if cell.row.startswith(ODD_NAME):
        (name,) = (name for name in ODD if cell.row == f"{ODD_NAME}{name!r}")
        one_odd_name(scene, name)
    else:
        DEEDS[cell.row](scene)


@pytest.mark.sampled(22)
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell,
            id=f"{cell.client}-to-{cell.server}-{cell.row}".replace(" ", "_"),
            marks=pytest.mark.peer(*cell.peers),
        )
        for cell in CELLS
        if cell.tried
    ],
)
def test_the_deed_is_done_or_known_not_to_be(
    cell: Cell,
    serving: Callable[[str], Server],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("deed", (cell.client, cell.server, cell.row))
    scene = scene_of(cell, serving, tmp_path)
    if not cell.reason:
        done(cell, scene)
        return
    with pytest.raises((AssertionError, UnicodeError)):
        done(cell, scene)
