"""Which way requests go: geography, edges, routes."""

import itertools
from dataclasses import replace

import pytest

from seakeep.load.geography import nearest_first
from seakeep.load.plan import PlanError, lanes_for_system, plan_for_system
from seakeep.load.resolve import Overstay
from seakeep.load.targets import require_loopback, target_of_url
from seakeep.model.distance import great_circle_km
from seakeep.model.observation import Address
from seakeep.model.system import Location, Region
from seakeep.model.time import SECOND
from seakeep.spec import load

SPEC = """
system: shop
regions:
  us-east: {zones: [a], at: [39.0, -77.5]}
  eu-west: {zones: [a], at: [53.3, -6.3]}
  somewhere: {zones: [a]}
traffic:
  na: {from: [40.7, -74.0], to: web, rate: 100/s}
  eu: {from: [48.9, 2.4], to: web, rate: 300/s, path: "/api/v1/list?page=2"}
  beta: {from: [48.9, 2.4], to: web, rate: 10/s, path: /beta}
  apix: {from: [48.9, 2.4], to: web, rate: 10/s, path: /apix}
services:
  web:
    run: python -m web
    port: 8080
    replicas: {min: 1, max: 2}
    routes:
      - {host: shop.example, path: /}
      - {host: "*", path: /api}
      - {host: "*.example", path: /beta, headers: {x-beta: "yes"}}
"""

EDGES = {
    "us-east": Address(host="127.1.0.1", port=8080),
    "eu-west": Address(host="127.2.0.1", port=8080),
    "somewhere": Address(host="127.3.0.1", port=8080),
}


@pytest.fixture
def system(tmp_path):
    path = tmp_path / "seakeep.yaml"
    path.write_text(SPEC)
    return load(path).system


def at(latitude, longitude):
    return Location(latitude_deg=latitude, longitude_deg=longitude)


def test_distances_are_those_of_the_globe():
    assert great_circle_km(at(51.5074, -0.1278), at(40.7128, -74.0060)) == pytest.approx(
        5570, rel=0.01
    )
    assert great_circle_km(at(0, 179), at(0, -179)) == pytest.approx(222.4, rel=0.01)
    assert great_circle_km(at(90, 0), at(-90, 0)) == pytest.approx(20015, rel=0.01)
    assert great_circle_km(at(10, 10), at(10, 10)) == 0


def test_regions_without_a_place_come_last_and_ties_by_name():
    regions = [
        Region(name="none-b", zones={}),
        Region(name="far", zones={}, location=at(0, 90)),
        Region(name="none-a", zones={}),
        Region(name="near-b", zones={}, location=at(0, 1)),
        Region(name="near-a", zones={}, location=at(0, -1)),
    ]
    order = nearest_first(at(0, 0), regions)
    assert order == ("near-a", "near-b", "far", "none-a", "none-b")


def test_every_source_enters_at_the_nearest_edge_that_there_is(system):
    lanes, rates = lanes_for_system(system, EDGES)
    assert [lane.target.region for lane in lanes] == ["us-east", "eu-west", "eu-west", "eu-west"]
    assert lanes[0].target.address == EDGES["us-east"]
    assert rates == (100, 300, 10, 10)
    lanes, _ = lanes_for_system(system, {"somewhere": EDGES["somewhere"]})
    assert {lane.target.region for lane in lanes} == {"somewhere"}


def test_requests_say_what_their_route_asks_for(system):
    na, eu, beta, apix = (lane.target for lane in lanes_for_system(system, EDGES)[0])
    assert na.host == "shop.example"
    assert eu.host == "127.2.0.1:8080"
    assert beta.host == "load.example"
    assert beta.headers == (("x-beta", "yes"),)
    # A prefix matches whole segments: /apix is not under /api.
    assert apix.host == "shop.example"


SERVERS = {name: Address(host=f"127.{n}.0.53", port=5300) for n, name in enumerate(EDGES, 1)}


def test_clients_look_up_hosts_of_the_zone_at_the_nearest_server_first(tmp_path):
    wild = '{host: "*", path: /api}'
    path = tmp_path / "seakeep.yaml"
    path.write_text(
        SPEC.replace("traffic:\n", "dns: shop.example\ntraffic:\n").replace(
            wild, wild + '\n      - {host: "*.shop.example", path: /api}'
        )
    )
    system = load(path).system
    na, eu, beta, _ = lanes_for_system(system, EDGES, (), SERVERS, Overstay(share=0.5))[0]
    assert na.lookup.name == "shop.example"
    assert [one.host for one in na.lookup.servers] == ["127.1.0.53", "127.2.0.53", "127.3.0.53"]
    assert [one.host for one in eu.lookup.servers] == ["127.2.0.53", "127.1.0.53", "127.3.0.53"]
    assert (na.lookup.prefix, eu.lookup.prefix) == ("198.18.0.0/24", "198.18.1.0/24")
    assert na.lookup.edges["127.2.0.1"] == ("eu-west", EDGES["eu-west"])
    assert na.lookup.overstay.share == 0.5
    assert (eu.lookup.name, eu.target.host) == ("load.shop.example", "load.shop.example")
    assert beta.lookup is None, "its host is not in the zone"
    assert [lane.lookup for lane in lanes_for_system(system, EDGES)[0]] == [None] * 4


def test_the_plan_sends_what_the_spec_declares(system):
    plan = plan_for_system(system, EDGES, seed=1, sources=["eu"], factor=2)
    due = list(itertools.takewhile(lambda r: r.due < 20 * SECOND, plan.requests()))
    assert {(r.method, r.path) for r in due} == {("GET", "/api/v1/list?page=2")}
    assert len(due) == pytest.approx(600 * 20, rel=0.06)
    slow = plan_for_system(system, EDGES, seed=1, sources=["eu"], rate_per_s=5)
    due = list(itertools.takewhile(lambda r: r.due < 200 * SECOND, slow.requests()))
    assert len(due) == pytest.approx(1000, rel=0.2)


def test_what_cannot_be_planned_is_said(system):
    with pytest.raises(PlanError, match="no traffic source 'asia'") as caught:
        plan_for_system(system, EDGES, seed=1, sources=["asia"])
    assert caught.value.hint == "the spec has na, eu, beta, apix"
    with pytest.raises(PlanError, match="no region's edge"):
        plan_for_system(system, {}, seed=1)


def test_what_only_the_twin_sends_is_refused(tmp_path):
    (tmp_path / "access.log").write_text("")
    more = """
  log: {from: [0, 0], to: web, shape: {log: access.log}}
  stay: {from: [0, 0], to: web, rate: 5/s, sessions: {pages: 3, think: 1s}}
"""
    path = tmp_path / "seakeep.yaml"
    path.write_text(SPEC.replace("\nservices:", f"{more}services:"))
    system = load(path).system
    with pytest.raises(PlanError, match="follows an access log") as caught:
        plan_for_system(system, EDGES, seed=1, sources=["log"])
    assert "--replay access.log" in caught.value.hint
    with pytest.raises(PlanError, match="has sessions"):
        plan_for_system(system, EDGES, seed=1, sources=["stay"])
    assert plan_for_system(system, EDGES, seed=1, sources=["na", "eu"]).lanes
    assert plan_for_system(system, EDGES, seed=1, sources=["log", "stay"], rate_per_s=3.0).lanes


def test_urls_become_targets():
    target, path = target_of_url("http://127.0.0.1:8080/a/b?c=d&e")
    assert target.address == Address(host="127.0.0.1", port=8080)
    assert (target.host, path) == ("127.0.0.1:8080", "/a/b?c=d&e")
    target, path = target_of_url("http://[::1]")
    assert target.address == Address(host="::1", port=80)
    assert path == "/"
    assert target_of_url("http://localhost:1/")[0].host == "localhost:1"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:8080", "not an http URL"),
        ("https://127.0.0.1/", "TLS"),
        ("ftp://127.0.0.1/", "not an http URL"),
        ("http://", "not an http URL"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("http://user:secret@127.0.0.1/", "user or password"),
        ("http://127.0.0.1/a b", "control character or space"),
        ("http://[::1/", "not a URL"),
        ("http://no.such.name.invalid/", "cannot look up"),
    ],
)
def test_urls_that_are_refused(url, why):
    with pytest.raises(PlanError, match=why) as caught:
        target_of_url(url)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://0.0.0.0/", "http://[2001:db8::1]/"])
def test_load_stays_on_this_machine(url, system):
    lane = lanes_for_system(system, EDGES)[0][0]
    require_loopback([lane])
    with pytest.raises(PlanError, match="not this machine") as caught:
        require_loopback([lane, replace(lane, target=target_of_url(url)[0])])
    assert "--allow-remote" in caught.value.hint
