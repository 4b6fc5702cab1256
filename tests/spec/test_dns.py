"""The zone of a spec: what is read, what is told about a database of places."""

from pathlib import Path

import pytest

from seakeep.model.system import Dns, Location, Steer, Steering
from seakeep.model.time import SECOND
from seakeep.spec import SpecError, load
from tests import mmdb

SPEC = """\
system: shop
regions: {us-east: {zones: [a]}, eu-west: {zones: [a]}}
dns: DNS
traffic:
  first: {from: [40.7, -74.0], to: web, rate: 1/s}
  second: {from: [48.9, 2.4], to: web, rate: 1/s, prefix: 203.0.113.0/24}
  third: {from: [1.3, 103.8], to: web, rate: 1/s}
services:
  web: {run: web, routes: [{host: shop.example, steer: STEER}, {host: shop.example, path: /x}]}
"""


def spec(tmp_path: Path, dns: str = "shop.example", steer: str = "latency") -> Path:
    path = tmp_path / "seakeep.yaml"
    path.write_text(SPEC.replace("DNS", dns).replace("STEER", steer))
    return path


def test_a_zone_and_where_its_clients_are(tmp_path: Path) -> None:
    system = load(spec(tmp_path)).system
    assert system.dns == Dns(
        zone="shop.example",
        places=(
            ("198.18.0.0/24", Location(latitude_deg=40.7, longitude_deg=-74.0)),
            ("203.0.113.0/24", Location(latitude_deg=48.9, longitude_deg=2.4)),
            ("198.18.2.0/24", Location(latitude_deg=1.3, longitude_deg=103.8)),
        ),
    )
    assert [one.prefix for one in system.traffic.values()] == [
        "198.18.0.0/24", "203.0.113.0/24", "198.18.2.0/24",
    ]  # fmt: skip


def test_everything_about_a_zone(tmp_path: Path) -> None:
    written = (
        "{zone: Shop.Example., port: 53, ttl: 30s, negative_ttl: 1m, rate_limit: 200/s, "
        "places: {10.0.0.0/8: [1, 2]}, health: {fall: 2s, rise: 1m}}"
    )
    dns = load(spec(tmp_path, written)).system.dns
    assert dns is not None
    assert (dns.zone, dns.port, dns.ttl, dns.negative_ttl) == (
        "shop.example", 53, 30 * SECOND, 60 * SECOND,
    )  # fmt: skip
    assert (dns.answers_per_s, dns.fall, dns.rise) == (200, 2 * SECOND, 60 * SECOND)
    assert dns.places[0] == ("10.0.0.0/8", Location(latitude_deg=1.0, longitude_deg=2.0))


@pytest.mark.parametrize(
    ("written", "steer"),
    [
        ("latency", Steer()),
        ("geo", Steer(by=Steering.GEO)),
        ("failover", Steer(by=Steering.FAILOVER, order=("us-east", "eu-west"))),
        ("{failover: [eu-west]}", Steer(by=Steering.FAILOVER, order=("eu-west",))),
        ("weighted", Steer(by=Steering.WEIGHTED, weights={"us-east": 0.5, "eu-west": 0.5})),
        ("{weighted: {us-east: 70%, eu-west: even}}",
         Steer(by=Steering.WEIGHTED, weights={"us-east": 0.7, "eu-west": pytest.approx(0.3)})),
    ],
)  # fmt: skip
def test_steering_holds_for_all_routes_of_a_host(tmp_path: Path, written: str, steer: Steer):
    routes = load(spec(tmp_path, steer=written)).system.services["web"].routes
    assert [route.steer for route in routes] == [steer, steer]


def test_without_a_zone_there_is_none(tmp_path: Path) -> None:
    path = spec(tmp_path, steer="latency")
    path.write_text(path.read_text().replace("dns: shop.example\n", "").replace(
        ", steer: latency", ""))  # fmt: skip
    assert load(path).system.dns is None


def problems(path: Path) -> list[str]:
    try:
        return [one.message for one in load(path).warnings]
    except SpecError as error:
        return [one.message for one in error.problems]


def test_a_database_of_places(tmp_path: Path) -> None:
    path = spec(tmp_path, "{zone: shop.example, database: places.mmdb}")
    assert problems(path) == [f"dns.database: there is no file {tmp_path / 'places.mmdb'}"]
    (tmp_path / "places.mmdb").write_bytes(b"rubbish")
    assert "cannot be read" in problems(path)[0]
    (tmp_path / "places.mmdb").unlink()
    (tmp_path / "places.mmdb").mkdir()
    assert "cannot be read" in problems(path)[0]
    (tmp_path / "places.mmdb").rmdir()
    mmdb.write(tmp_path / "places.mmdb", {"10.0.0.0/8": {"country": "x"}}, "GeoLite2-Country")
    assert "knows no coordinates" in problems(path)[0]
    mmdb.write(tmp_path / "places.mmdb", {"10.0.0.0/8": mmdb.city(1.0, 2.0)})
    assert problems(path) == []
    assert load(path).system.dns.database == "places.mmdb"  # type: ignore[union-attr]
