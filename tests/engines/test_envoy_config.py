"""What of a service's spec becomes which words of Envoy's configuration."""

from pathlib import Path
from typing import Any

import pytest

from seakeep.engines.local.envoy.clusters import UNLIMITED, render_clusters
from seakeep.engines.local.envoy.routes import service_hosts
from seakeep.model.system import System
from seakeep.spec import load
from tests.spec.writing import written

SPEC = """\
system: s
regions: {a: {zones: [x, y]}}
services:
  web: {run: x, routes: [{path: /}], FIELDS}
"""


def system_of(folder: Path, fields: str) -> System:
    return load(written(folder, SPEC.replace("FIELDS", fields))).system


def thresholds(system: System) -> dict[str, dict[str, Any]]:
    """Circuit breakers by cluster."""
    return {
        cluster["name"]: cluster["circuit_breakers"]["thresholds"][0]
        for cluster in render_clusters(system, "a", Path("eds"))
    }


def routes(system: System) -> list[dict[str, Any]]:
    """The routes of callers: of methods that may be sent twice, then of the others."""
    (host,) = service_hosts(system.services["web"], "web", retries=True)
    return [entry["route"] for entry in host["routes"]]


def test_breakers_hold_where_calls_begin_and_nowhere_else(tmp_path: Path) -> None:
    fields = "breaker: {requests: 100, pending: 50}, balance: {prefer: zone}"
    found = thresholds(system_of(tmp_path, fields))
    bounds = {
        name: (one["max_requests"], one["max_pending_requests"], one["max_connections"])
        for name, one in found.items()
    }
    assert bounds == {
        "web": (100, 50, UNLIMITED),
        "web@x": (100, 50, UNLIMITED),
        "web@y": (100, 50, UNLIMITED),
        "web.local": (UNLIMITED, UNLIMITED, UNLIMITED),
    }
    assert all("retry_budget" in one for one in found.values())


def test_a_budget_of_all_requests_is_no_bound(tmp_path: Path) -> None:
    bounds = thresholds(system_of(tmp_path, "retries: {attempts: 1, budget: 100%}"))["web"]
    assert (bounds["max_retries"], bounds.get("retry_budget")) == (UNLIMITED, None)


def test_requests_of_a_tcp_service_are_connections(tmp_path: Path) -> None:
    fields = "protocol: tcp, breaker: {requests: 7}"
    text = SPEC.replace("{path: /}", "{port: 5432}").replace("FIELDS", fields)
    bounds = thresholds(load(written(tmp_path, text)).system)["web"]
    assert (bounds["max_connections"], bounds["max_requests"]) == (7, UNLIMITED)


def test_without_a_breaker_there_is_no_bound(tmp_path: Path) -> None:
    bounds = thresholds(system_of(tmp_path, "timeout: 1s"))["web"]
    assert (bounds["max_requests"], bounds["max_pending_requests"]) == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize("hedge", [True, False])
def test_only_what_may_be_sent_twice_is_hedged(tmp_path: Path, hedge: bool) -> None:
    fields = f"retries: {{attempts: 1, per_try: 100ms, hedge: {str(hedge).lower()}}}"
    twice, once = routes(system_of(tmp_path, fields))
    assert twice["retry_policy"]["per_try_timeout"] == "0.100000000s"
    assert twice.get("hedge_policy") == ({"hedge_on_per_try_timeout": True} if hedge else None)
    assert "hedge_policy" not in once


def test_500_is_sent_again_only_when_asked_for_and_where_it_may_be(tmp_path: Path) -> None:
    for fields, there in (("{attempts: 1}", False), ("{attempts: 1, on: 5xx}", True)):
        twice, once = routes(system_of(tmp_path, f"retries: {fields}"))
        assert ("5xx" in twice["retry_policy"]["retry_on"].split(",")) is there
        assert "5xx" not in once["retry_policy"]["retry_on"]


def test_no_timeout_is_no_timeout_of_a_try_either(tmp_path: Path) -> None:
    for route in routes(system_of(tmp_path, "timeout: none")):
        assert (route["timeout"], route["idle_timeout"]) == ("0.000000000s", "0.000000000s")
        assert "per_try_timeout" not in route["retry_policy"]
    twice, _ = routes(system_of(tmp_path, "timeout: none, retries: {per_try: 2s}"))
    assert twice["retry_policy"]["per_try_timeout"] == "2.000000000s"


def test_a_try_is_given_half_of_the_timeout_unless_told_otherwise(tmp_path: Path) -> None:
    twice, once = routes(system_of(tmp_path, "timeout: 3s"))
    assert twice["retry_policy"]["per_try_timeout"] == "1.500000000s"
    assert once["timeout"] == "3.000000000s"
    assert "idle_timeout" not in once
