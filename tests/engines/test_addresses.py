"""Addresses and leases: nothing collides, nothing moves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.engines.local.addresses import AddressBook, book_from
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.engines.local.octets import claim, lease_octets, release_octets
from seakeep.engines.local.state import load_state, new_state, save_state

names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)


@given(
    regions=st.lists(names, min_size=1, max_size=5, unique=True),
    zones=st.lists(names, min_size=1, max_size=4, unique=True),
    services=st.lists(names, min_size=1, max_size=5, unique=True),
    whole=st.booleans(),
)
def test_every_name_has_an_address_of_its_own(
    regions: list[str], zones: list[str], services: list[str], whole: bool
) -> None:
    book = AddressBook(first_octet=20, whole_loopback=whole)
    found = []
    for region in regions:
        found.append(book.edge(region, 8080))
        for service in services:
            found.append(book.internal(region, service, None, 8080))
            found.append(book.gateway(region, service, 8080))
            found += [book.internal(region, service, zone, 8080) for zone in zones]
            found += [book.link(region, other, service, 8080) for other in regions]
        for zone in zones:
            found += [book.instance(region, zone, slot, 8080) for slot in (1, 2, 250)]
    assert len(set(found)) == len(found)
    assert all(address.host.startswith("127.") for address in found)
    again = book_from(20, whole, book.tables)
    assert again.edge(regions[0], 8080) == book.edge(regions[0], 8080)


def test_a_slot_is_used_again_only_after_its_release() -> None:
    book = AddressBook(first_octet=20)
    assert [book.slot("east", "a", name) for name in ("web-1", "web-2", "web-1")] == [1, 2, 1]
    book.release_slot("east", "a", "web-1")
    assert book.slot("east", "a", "web-3") == 1
    book.release_slot("east", "a", "never-there")


def test_a_zone_that_is_full_says_so() -> None:
    book = AddressBook(first_octet=20)
    for number in range(250):
        book.slot("east", "a", f"web-{number}")
    with pytest.raises(ValueError, match="more than 250 slots"):
        book.slot("east", "a", "web-250")


@pytest.fixture
def layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Layout]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = [layout_for(tmp_path / name) for name in ("one", "other")]
    for layout in made:
        layout.create()
    return made


def test_two_systems_get_different_addresses(layouts: list[Layout]) -> None:
    one, other = layouts
    (first, held), (second, also_held) = new_state(one, 2), new_state(other, 2)
    assert abs(first.book.first_octet - second.book.first_octet) >= 16
    assert first.token != second.token
    held.close()
    release_octets(one)
    again, held = new_state(one, 2)
    assert again.book.first_octet == first.book.first_octet
    held.close()
    also_held.close()


def test_what_another_user_has_claimed_is_not_leased(layouts: list[Layout]) -> None:
    one, other = layouts
    first, held = lease_octets(one, 40)
    release_octets(one)  # another user's leases cannot be read: only the claim shows
    second, also_held = lease_octets(other, 16)
    try:
        assert not first <= second < first + 40
        with pytest.raises(OSError, match="in use"):
            claim(second, 16)
    finally:
        held.close()
        also_held.close()
    claim(second, 16).close()


def test_state_survives_a_round_trip(layouts: list[Layout]) -> None:
    layout = layouts[0]
    assert load_state(layout) is None
    state, held = new_state(layout, 2)
    held.close()
    state.epoch = 3
    state.condemned["web-1"] = "east/a/0"
    state.edges["east"] = state.book.edge("east", 8080)
    save_state(layout, state)
    assert load_state(layout) == state


def test_sockets_have_short_paths(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    assert len(str(layout_for(deep).node_socket("us-east-1/zone-a/12"))) < 107
