# SPDX-License-Identifier: MIT
"""A name counts only if it leads back to the address."""

import _socket
from typing import Any

import pytest

from tellin.errors import ConnectFailed
from tellin.server import naming
from tellin.server.naming import find_name

ADDRESS = "192.0.2.7"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A name service: ``name`` is what the address is called, ``back`` where that leads."""
    told: dict[str, Any] = {"name": "Host.Example", "back": [ADDRESS]}

    def name_of(place: tuple[str, int], flags: int) -> tuple[str, str]:
        assert (place, flags) == ((ADDRESS, 0), _socket.NI_NAMEREQD)
        if told["name"] is None:
            raise _socket.gaierror(-2, "Name or service not known")
        return told["name"], "0"

    def addresses_of(name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        if told["back"] is None:
            raise ConnectFailed("no such name")
        return [(2, (address, port)) for address in told["back"]]

    monkeypatch.setattr(naming._socket, "getnameinfo", name_of)
    monkeypatch.setattr(naming, "resolve", addresses_of)
    return told


def test_a_name_that_leads_back_is_believed(service: dict[str, Any]) -> None:
    service["back"] = ["192.0.2.8", ADDRESS]
    found = find_name(ADDRESS)
    assert (found.name, found.warning) == ("host.example", "")


def test_an_address_without_a_name_has_none(service: dict[str, Any]) -> None:
    service["name"] = None
    assert (find_name(ADDRESS).name, find_name(ADDRESS).warning) == ("", "")


def test_a_name_that_leads_elsewhere_is_an_attempt(service: dict[str, Any]) -> None:
    service["back"] = ["192.0.2.8"]
    found = find_name(ADDRESS)
    assert found.name == ""
    assert found.warning == (
        "Address 192.0.2.7 maps to host.example, but this does not map back to the address."
    )


def test_a_name_that_leads_nowhere_is_none(service: dict[str, Any]) -> None:
    service["back"] = None
    found = find_name(ADDRESS)
    assert found.name == ""
    assert "reverse mapping checking getaddrinfo for host.example [192.0.2.7] failed" in (
        found.warning
    )


@pytest.mark.parametrize("name", ["10.0.0.1", "fe80::1"])
def test_a_name_that_is_another_address_is_no_name(service: dict[str, Any], name: str) -> None:
    service["name"] = name
    service["back"] = [ADDRESS, name]
    found = find_name(ADDRESS)
    assert found.name == ""
    assert found.warning.startswith(f'Nasty PTR record "{name}"')


def test_this_machine_knows_its_own_name() -> None:
    found = find_name("127.0.0.1")
    assert found.name == "localhost" or not found.name
