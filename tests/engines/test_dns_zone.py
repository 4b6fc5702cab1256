"""The zone's answers, as dnspython reads them; places, steering, limits."""

import ipaddress
import random
import tempfile
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seakeep.engines.local.dns import wire
from seakeep.engines.local.dns.cache import ENTRIES_MAX, Cache
from seakeep.engines.local.dns.limit import Limit
from seakeep.engines.local.dns.places import Database, DatabaseError, Found, Places
from seakeep.engines.local.dns.wire import Malformed
from seakeep.engines.local.dns.zone import Table, TableError
from seakeep.engines.steer import Atlas, in_turn
from seakeep.model.system import Location
from tests import mmdb

NEW_YORK = Location(latitude_deg=40.7, longitude_deg=-74.0)
PARIS = Location(latitude_deg=48.9, longitude_deg=2.4)
LOOPBACK = b"\x7f\0\0\1"
EAST, WEST = "127.1.0.1", "127.2.0.1"


def host(name, by="latency", regions=("us-east", "eu-west"), weights=(), out=()):
    return {"host": name, "by": by, "regions": list(regions), "weights": list(weights),
            "out": list(out)}  # fmt: skip


TREE = {
    "format": 1, "digest": "00c0ffee00c0ffee", "zone": "shop.example", "region": "us-east",
    "ttl_s": 5, "negative_ttl_s": 7, "answers_per_s": 0,
    "servers": {"us-east": "127.1.0.53", "eu-west": "127.2.0.53"},
    "edges": {"us-east": EAST, "eu-west": WEST},
    "locations": {"us-east": [39.0, -77.5], "eu-west": [53.3, -6.3]},
    "links": [["eu-west", "us-east", 38_000_000]],
    "hosts": [
        host("shop.example"),
        host("geo.shop.example", "geo"),
        host("w.shop.example", "weighted", weights=(700, 300)),
        host("f.shop.example", "failover", ("eu-west", "us-east")),
        host("one.shop.example", regions=("eu-west",), out=("us-east",)),
        host("*.wild.shop.example", "failover", ("us-east",)),
        host("a.b.c.shop.example", "failover", ("us-east",)),
    ],
}  # fmt: skip
PLACES = (("198.18.0.0/24", NEW_YORK), ("198.18.1.0/24", PARIS), ("2001:db8::/32", PARIS))


def table(tree=TREE, places=PLACES) -> Table:
    return Table(tree, Places(places, None))


TABLE = table()


def ask(name="shop.example", kind="A", *, subnet=None, zone=TABLE, source=LOOPBACK, **fields):
    """The answer to a question, as dnspython reads it."""
    options = [dns.edns.ECSOption(*subnet, 0)] if subnet else []
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232, options=options)
    for field, value in fields.items():
        setattr(query, field, value)
    return answer_to(query, zone, source)


def answer_to(query, zone=TABLE, source=LOOPBACK, bytes_max=None):
    packet = query.to_wire()
    parsed = wire.parse(packet)
    data = zone.answer(parsed, source, bytes_max or parsed.udp_bytes).next()
    answer = dns.message.from_wire(packet[:2] + data)
    assert query.is_response(answer)
    return answer


def addresses(answer):
    return [record.address for rrset in answer.answer for record in rrset
            if rrset.rdtype == dns.rdatatype.A]  # fmt: skip


def scope(answer):
    return next(one.scopelen for one in answer.options if isinstance(one, dns.edns.ECSOption))


# --- names ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "found", "authority"),
    [
        ("shop.example", "A", "NOERROR", [EAST], []),
        ("ShOp.eXample", "A", "NOERROR", [EAST], []),
        ("shop.example", "AAAA", "NOERROR", [], ["SOA"]),
        ("shop.example", "MX", "NOERROR", [], ["SOA"]),
        ("shop.example", "SOA", "NOERROR", [], []),
        ("shop.example", "NS", "NOERROR", [], []),
        ("nothing.shop.example", "A", "NXDOMAIN", [], ["SOA"]),
        ("a.nothing.shop.example", "TXT", "NXDOMAIN", [], ["SOA"]),
        ("f.shop.example", "A", "NOERROR", [WEST], []),
        ("one.shop.example", "A", "NOERROR", [WEST], []),
        ("x.wild.shop.example", "A", "NOERROR", [EAST], []),
        ("y.x.wild.shop.example", "A", "NOERROR", [EAST], []),
        ("x.wild.shop.example", "AAAA", "NOERROR", [], ["SOA"]),
        ("wild.shop.example", "A", "NOERROR", [], ["SOA"]),
        ("c.shop.example", "A", "NOERROR", [], ["SOA"]),
        ("b.c.shop.example", "A", "NOERROR", [], ["SOA"]),
        ("z.b.c.shop.example", "A", "NXDOMAIN", [], ["SOA"]),
        ("ns-us-east.shop.example", "A", "NOERROR", ["127.1.0.53"], []),
        ("ns-eu-west.shop.example", "ANY", "NOERROR", ["127.2.0.53"], []),
        ("shop.example", "ANY", "NOERROR", [EAST], []),
        ("example", "A", "REFUSED", [], []),
        (".", "NS", "REFUSED", [], []),
        ("myshop.example", "A", "REFUSED", [], []),
        ("shop.example.org", "A", "REFUSED", [], []),
        ("shop.example", "AXFR", "REFUSED", [], []),
        ("shop.example", "IXFR", "REFUSED", [], []),
    ],
)
def test_names(name, kind, rcode, found, authority):
    answer = ask(name, kind)
    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert addresses(answer) == found
    assert [dns.rdatatype.to_text(rrset.rdtype) for rrset in answer.authority] == authority
    assert bool(answer.flags & dns.flags.AA) == (rcode != "REFUSED")
    assert answer.flags & dns.flags.RD
    assert not answer.flags & dns.flags.RA


def test_the_apex():
    soa = ask(kind="SOA").answer[0][0]
    assert (str(soa.mname), str(soa.rname)) == ("ns-us-east.shop.example.",
                                                "hostmaster.shop.example.")  # fmt: skip
    assert (soa.serial, soa.minimum) == (0x00C0FFEE, 7)
    answer = ask(kind="NS")
    assert sorted(str(one.target) for one in answer.answer[0]) == [
        "ns-eu-west.shop.example.", "ns-us-east.shop.example.",
    ]  # fmt: skip
    assert sorted(str(rrset.name) for rrset in answer.additional) == [
        "ns-eu-west.shop.example.", "ns-us-east.shop.example.",
    ]  # fmt: skip
    negative = ask("nothing.shop.example").authority[0]
    assert (str(negative.name), negative.ttl, negative[0].minimum) == ("shop.example.", 7, 7)
    assert ask().answer[0].ttl == 5


def test_other_classes_and_versions():
    chaos = dns.message.make_query("version.bind", "TXT", "CH")
    assert answer_to(chaos).rcode() == dns.rcode.REFUSED
    later = dns.message.make_query("shop.example", "A", use_edns=1)
    answer = answer_to(later)
    assert (answer.rcode(), answer.edns) == (dns.rcode.BADVERS, 0)


def test_without_edns_there_is_none_in_the_answer():
    answer = answer_to(dns.message.make_query("shop.example", "A", use_edns=False))
    assert answer.edns == -1
    assert addresses(answer) == [EAST]


def test_what_does_not_fit_is_truncated_and_comes_whole_by_tcp():
    names = [f"region-with-a-long-name-{n}" for n in range(40)]
    tree = TREE | {
        "region": names[0],
        "servers": {name: f"127.{n}.0.53" for n, name in enumerate(names)},
        "edges": {name: f"127.{n}.0.1" for n, name in enumerate(names)},
        "locations": dict.fromkeys(names), "links": [], "hosts": [],
    }  # fmt: skip
    query = dns.message.make_query("shop.example", "NS", use_edns=0, payload=4096)
    answer = answer_to(query, table(tree))
    assert answer.flags & dns.flags.TC
    assert (answer.answer, answer.edns) == ([], 0)
    whole = answer_to(query, table(tree), bytes_max=65_535)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 40


# --- client subnets ---------------------------------------------------------


@pytest.mark.parametrize(
    ("subnet", "address", "scopelen"),
    [
        (("198.18.0.0", 24), EAST, 24),
        (("198.18.1.0", 24), WEST, 24),
        (("198.18.1.200", 32), WEST, 24),
        (("198.18.0.0", 16), EAST, 24),  # too wide to say: as its first address
        (("203.0.113.0", 24), EAST, 5),  # nobody's: where the server is
        (("2001:db8::", 56), WEST, 32),
        (("0.0.0.0", 0), EAST, 0),
    ],
)
def test_the_nearest_region_for_a_subnet(subnet, address, scopelen):
    for name in ("shop.example", "geo.shop.example"):
        answer = ask(name, subnet=subnet)
        assert addresses(answer) == [address]
        option = next(one for one in answer.options if isinstance(one, dns.edns.ECSOption))
        assert (option.srclen, option.scopelen) == (subnet[1], scopelen)


def test_the_answer_that_is_for_all_says_so():
    assert scope(ask("w.shop.example", subnet=("198.18.1.0", 24))) == 0
    assert scope(ask("f.shop.example", subnet=("198.18.1.0", 24))) == 0
    assert scope(ask("nothing.shop.example", subnet=("198.18.1.0", 24))) == 0


def test_without_a_subnet_the_asker_is_the_client():
    answer = ask(source=ipaddress.ip_address("198.18.1.9").packed)
    assert addresses(answer) == [WEST]


@pytest.mark.parametrize(
    "option",
    [
        b"", b"\0\1", b"\0\1\x18",
        b"\0\1\x18\x00\xc6\x12",  # an address that is too short
        b"\0\1\x18\x00\xc6\x12\0\0",  # too long
        b"\0\1\x18\x18\xc6\x12\0",  # a scope in a question
        b"\0\1\x17\x00\xc6\x12\1",  # a bit beyond the prefix
        b"\0\1\x21\x00\xc6\x12\0\0\0",  # 33 bits of IPv4
        b"\0\2\x81\x00" + bytes(17),
        b"\0\3\x00\x00", b"\0\0\x00\x00",
    ],
)  # fmt: skip
def test_subnets_that_are_none_are_format_errors(option):
    query = dns.message.make_query(
        "shop.example", "A", use_edns=0, options=[dns.edns.GenericOption(8, option)]
    )
    with pytest.raises(Malformed) as caught:
        wire.parse(query.to_wire())
    assert caught.value.rcode == wire.Rcode.FORMERR


PREFIXES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 8)).map(
        lambda pair: (pair[0] >> (8 - pair[1]) << (8 - pair[1]), pair[1])
    ),
    unique=True,
    max_size=12,
)


@given(PREFIXES, st.integers(0, 255))
def test_everybody_within_the_scope_is_in_the_same_place(prefixes, last):
    declared = [
        (f"10.0.0.{first}/{24 + bits}", Location(latitude_deg=float(n), longitude_deg=0.0))
        for n, (first, bits) in enumerate(prefixes)
    ]
    places = Places(declared, None)

    def place(n):
        return places.find(bytes((10, 0, 0, n))).place

    found = places.find(bytes((10, 0, 0, last)))
    networks = [(ipaddress.ip_network(text), at) for text, at in declared]
    best = max(
        ((net.prefixlen, at) for net, at in networks
         if ipaddress.ip_address(f"10.0.0.{last}") in net),
        key=lambda pair: pair[0], default=(0, None),
    )[1]  # fmt: skip
    assert found.place == best
    width = 32 - max(found.scope, 24)
    first = last >> width << width
    assert {place(n) for n in range(first, first + (1 << width))} == {best}


def test_a_database_knows_the_others(tmp_path):
    path = tmp_path / "city.mmdb"
    mmdb.write(path, {"203.0.113.0/24": mmdb.city(48.9, 2.4), "10.0.0.0/8": {"country": "x"}})
    places = Places((("203.0.113.128/25", NEW_YORK),), Database(path))

    def find(text):
        return places.find(ipaddress.ip_address(text).packed)

    assert find("203.0.113.1") == Found(PARIS, 25), "the other half lies elsewhere"
    assert find("203.0.113.200") == Found(NEW_YORK, 25)
    assert find("10.1.2.3").place is None
    assert find("192.0.2.1").place is None
    assert find("2001:db8::1") == Found(None, 0), "it has no IPv6"
    for content in (b"", b"rubbish" * 100, path.read_bytes()[:60]):
        (tmp_path / "bad.mmdb").write_bytes(content)
        with pytest.raises(DatabaseError):
            Database(tmp_path / "bad.mmdb")
    with pytest.raises(DatabaseError, match="no such file"):
        Database(tmp_path / "none.mmdb")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_database_ends_no_server(changes):
    entries = {"203.0.113.0/24": mmdb.city(48.9, 2.4), "10.0.0.0/8": mmdb.city(1.0, 2.0)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "city.mmdb"
        mmdb.write(path, entries)
        data = bytearray(path.read_bytes())
        for at, value in changes:
            data[at % len(data)] = value
        path.write_bytes(data)
        try:
            database = Database(path)
        except DatabaseError:
            return
        for packed in (bytes((203, 0, 113, 1)), bytes((10, 1, 2, 3)), bytes(4), bytes(16)):
            database.find(packed)


# --- steering ---------------------------------------------------------------


def test_declared_latencies_count_beyond_the_nearest_region():
    locations = {"a": NEW_YORK, "b": PARIS, "c": Location(latitude_deg=51.5, longitude_deg=0.0)}
    boston = Location(latitude_deg=42.4, longitude_deg=-71.1)
    even = Atlas("a", locations, [("a", "b", 30_000_000), ("a", "c", 29_000_000)])
    slow = Atlas("a", locations, [("a", "b", 30_000_000), ("a", "c", 90_000_000)])
    assert even.by_latency(boston, ["a", "b", "c"]) == "a"
    assert even.by_latency(boston, ["b", "c"]) == "c"
    assert slow.by_latency(boston, ["b", "c"]) == "b"
    assert slow.by_distance(boston, ["b", "c"]) == "c"
    assert slow.by_latency(None, ["b", "c"]) == "b"
    close = Atlas("a", locations, [("a", "b", 1), ("a", "c", 1)])
    assert close.by_latency(boston, ["b", "a", "c"]) == "a", "no way is shorter than the nearest"


def test_regions_without_coordinates_come_last():
    atlas = Atlas("a", {"a": None, "b": PARIS}, [("a", "b", 10_000_000)])
    assert atlas.by_distance(NEW_YORK, ["a", "b"]) == "b"
    assert atlas.by_latency(None, ["b", "a"]) == "a"
    assert Atlas("a", {"a": None}, []).by_distance(None, ["a"]) == "a"


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6))
def test_every_stretch_of_turns_has_the_shares(weights):
    turns = in_turn(weights)
    total = sum(weights)
    for index, weight in enumerate(weights):
        seen = 0
        for n, turn in enumerate(turns, 1):
            seen += turn == index
            assert abs(seen - n * weight / total) < len(weights)
        assert seen * total == weight * len(turns)


def test_weighted_answers_take_turns_whoever_asks():
    zone = table()
    cache = Cache(zone)
    given_ = []
    for n in range(1000):
        subnet = dns.edns.ECSOption(f"10.{n % 7}.0.0", 16, 0)
        query = dns.message.make_query("w.shop.example", "A", use_edns=0, options=[subnet])
        found = cache.answer(query.to_wire()[2:], lambda: LOOPBACK)
        given_ += addresses(dns.message.from_wire(query.to_wire()[:2] + found[2]))
    assert (given_.count(EAST), given_.count(WEST)) == (700, 300)
    assert 6 <= given_[:10].count(EAST) <= 8


# --- caching ----------------------------------------------------------------


def test_a_kept_answer_is_the_one_that_was_made():
    cache = Cache(TABLE)
    for name in ("shop.example", "f.shop.example", "nothing.shop.example"):
        for source in (LOOPBACK, ipaddress.ip_address("198.18.1.9").packed):
            packet = dns.message.make_query(name, "A").to_wire()
            fresh = TABLE.answer(wire.parse(packet), source, 512).next()
            for _ in range(2):
                assert cache.answer(packet[2:], lambda source=source: source)[2] == fresh


def test_the_cache_is_bounded_and_random_names_are_not_in_it():
    cache = Cache(TABLE)
    for n in range(200):
        packet = dns.message.make_query(f"r{n}.shop.example", "A").to_wire()
        assert cache.answer(packet[2:], lambda: LOOPBACK) is not None
    assert cache.entries == {}
    head = dns.message.make_query("f.shop.example", "A", use_edns=0).to_wire()
    for n in range(ENTRIES_MAX + 10):
        option = b"\0\x0a\0\4" + n.to_bytes(4, "big")
        packet = head[:-2] + len(option).to_bytes(2, "big") + option
        assert cache.answer(packet[2:], lambda: LOOPBACK) is not None
        assert len(cache.entries) <= ENTRIES_MAX
    assert len(cache.entries) == 10


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"hosts": [host("shop.example", regions=())]}, {"hosts": None},
        {"edges": {"us-east": "nowhere"}}, {"ttl_s": "soon"},
        {"hosts": [host("w.shop.example", "weighted", weights=(1,))]},
        {"hosts": [host("shop.example", "guess")]},
        {"hosts": [host("shop.example", regions=("mars",))]},
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(change):
    with pytest.raises(TableError):
        table(TREE | change)


# --- limits -----------------------------------------------------------------


def test_nobody_is_counted_while_all_together_are_few():
    limit = Limit(100)
    assert not limit.begin(1.0, 60)
    assert not limit.begin(1.5, 40)
    assert limit.begin(1.6, 1)
    admitted = sum(limit.admits(b"\x0a\0\0") for _ in range(150))
    assert admitted == 100
    assert limit.admits(b"\x0a\0\1")
    assert limit.begin(2.0, 1), "the flood goes on"
    assert limit.admits(b"\x0a\0\0"), "a new second"
    assert not limit.begin(3.1, 1), "a quiet second has passed"
    assert [limit.slips() for _ in range(4)] == [False, True, False, True]
    assert not Limit(0).begin(1.0, 10**9)


def test_networks_are_counted_in_bounded_memory():
    limit = Limit(1)
    limit.begin(1.0, 10**6)
    for n in range(60_000):
        limit.admits(n.to_bytes(3, "big"))
    assert len(limit._counts) <= 50_001


# --- anything ---------------------------------------------------------------

REAL = [
    dns.message.make_query("shop.example", "A").to_wire(),
    dns.message.make_query("x.wild.shop.example", "NS", use_edns=0, payload=4096,
                           options=[dns.edns.ECSOption("198.18.1.0", 24, 0)]).to_wire(),
    dns.message.make_query("nothing.shop.example", "ANY", use_edns=0,
                           options=[dns.edns.ECSOption("2001:db8::", 56, 0)]).to_wire(),
    dns.message.make_query("w.shop.example", "A", use_edns=0).to_wire(),
]  # fmt: skip


def answered(packet):
    """Whatever comes: silence, or an answer that dnspython can read."""
    found = Cache(TABLE).answer(packet[2:], lambda: LOOPBACK)
    if found is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return None
    answer = packet[:2] + found[2]
    assert len(answer) <= 1232
    assert answer[2] & 0x80
    return dns.message.from_wire(answer, ignore_trailing=False)


@given(st.binary(max_size=600))
@example(b"")
@example(b"\0" * 12)
@example(REAL[0] + b"\0")
@example(REAL[0][:-1])
@example(REAL[0][:12] + b"\xc0\x0c\0\1\0\1")
@example(REAL[0][:12] + b"\x3fa" * 40 + b"\0\0\1\0\1")
def test_any_bytes_get_an_answer_or_silence(packet):
    answered(packet)


@given(st.sampled_from(REAL), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255))),
       st.integers(0, 100))  # fmt: skip
def test_mutated_questions_get_an_answer_or_silence(packet, changes, cut):
    data = bytearray(packet)
    for at, value in changes:
        data[at % len(data)] = value
    del data[len(data) - cut % 3 * (cut % 7) :]
    answered(bytes(data))


def test_thousands_of_mutated_questions_end_no_server():
    draw = random.Random(7)
    for _ in range(20_000):
        data = bytearray(draw.choice(REAL))
        for _ in range(draw.randrange(1, 6)):
            move = draw.randrange(3)
            at = draw.randrange(len(data)) if data else 0
            if move == 0 and data:
                data[at] ^= 1 << draw.randrange(8)
            elif move == 1 and data:
                del data[at : at + draw.randrange(4)]
            else:
                data[at:at] = draw.randbytes(draw.randrange(4))
        Cache(TABLE).answer(bytes(data)[2:], lambda: LOOPBACK)


@pytest.mark.parametrize("opcode", [dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS])
def test_other_opcodes_are_not_implemented(opcode):
    query = dns.message.make_query("shop.example", "SOA")
    query.set_opcode(opcode)
    answer = answered(query.to_wire())
    assert (answer.rcode(), answer.opcode()) == (dns.rcode.NOTIMP, opcode)


@pytest.mark.parametrize("count", [0, 2, 0xFFFF])
def test_one_question_at_a_time(count):
    packet = bytearray(REAL[0])
    packet[4:6] = count.to_bytes(2, "big")
    assert answered(bytes(packet)).rcode() == dns.rcode.FORMERR


def test_answers_are_not_answered():
    packet = bytearray(REAL[0])
    packet[2] |= 0x80
    assert answered(bytes(packet)) is None
