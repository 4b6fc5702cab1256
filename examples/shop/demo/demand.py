"""What the demo asks of a healthy system: more of it, and a new version of it."""

import time

from demo.stage import SETTLE_S_MAX, Result, Stage, measured, recover, sleep_until, within
from demo.traffic import FLOOD
from demo.watch import Snapshot, all_well, instances, service
from seakeep.runtime import control

SURGING = "browsers-eu"
SURGE_FACTOR = 3.0
SCALED = "web"
FLOODED, FLOOD_PER_S, BURST = "/burn?ms=10", 200.0, 10
"""The spec lets each client have 10 of these a second, and 10 at once."""
DEPLOYED = "web"
OLD_VERSION, NEW_VERSION = 'SHOP_VERSION: "1"', 'SHOP_VERSION: "2"'


def surge(stage: Stage, lasts_s: float, settle_s: float) -> Result:
    """Three times the traffic of one continent."""
    result = Result(
        f"{SURGING} × {SURGE_FACTOR:g}",
        "scaled as its rate says, within two periods; ≥ 99.9 % fine",
    )
    before = service(stage.status(), SCALED)["wanted"]
    stage.say(f"{SURGING} send {SURGE_FACTOR:g} times as much")

    def scaled(now: Snapshot) -> bool:
        if now.status is None:
            return False
        web = service(now.status, SCALED)
        return bool(web["wanted"] > before and web["ready"] >= web["wanted"])

    with measured(stage, result, lasts_s, settle_s) as began:
        stage.load.surge(SURGING, SURGE_FACTOR, lasts_s)
        recover(stage, result, began, scaled, lasts_s)
        sleep_until(began, lasts_s)
        after = service(stage.status(), SCALED)["wanted"]
    result.note = f"{SCALED} scaled from {before} to {after}"
    result.met = result.failures <= result.requests / 1_000 and within(result.recover_s, lasts_s)
    return result


def deploy(stage: Stage, lasts_s: float, settle_s: float) -> Result:
    """A new version of web, instance by instance."""
    result = Result("new version of web", "rolled out; no request fails")
    old = {item["id"] for item in instances(stage.status()) if item["service"] == DEPLOYED}
    changed = stage.layout.state / "next.yaml"
    text = stage.spec.read_text()
    assert OLD_VERSION in text
    changed.write_text(text.replace(OLD_VERSION, NEW_VERSION))
    stage.say(f"deploying a new version of {DEPLOYED}")

    def rolled(now: Snapshot) -> bool:
        if now.status is None or not all_well(now):
            return False
        return not any(item["id"] in old for item in instances(now.status))

    with measured(stage, result, lasts_s, settle_s) as began:
        control.call(stage.layout.supervisor_socket, "reload", spec=str(changed))
        time.sleep(0.2)
        recover(stage, result, began, rolled, SETTLE_S_MAX)
    result.note = f"{len(old)} instances replaced"
    result.met = result.failures == 0 and result.recover_s is not None
    return result


def flood(stage: Stage, lasts_s: float, settle_s: float) -> Result:
    """One client asks for what is dear, 20 times as often as it may."""
    result = Result(
        "a flood from one client", "held to its limit; the others lose nothing", recovers=False
    )
    stage.say(f"one client asks for {FLOODED} {FLOOD_PER_S:g} times a second: 20 times its limit")
    entered = time.monotonic_ns()
    with measured(stage, result, lasts_s, settle_s) as began:
        stage.load.flood(FLOODED, FLOOD_PER_S, lasts_s)
    ended = time.monotonic_ns()
    (mine,) = [item for item in stage.load.traffic.sources if item.source == FLOOD]
    quiet = stage.load.p99_between(entered - round(lasts_s * 1e9), entered, SURGING)
    loud = stage.load.p99_between(began, ended, SURGING)
    result.note = f"{mine.ok} of its {mine.ok + mine.declined + mine.failed} requests let through"
    if quiet is not None and loud is not None:
        result.note += f"; p99 of {SURGING} {quiet:.0f} ms before, {loud:.0f} ms meanwhile"
    most = FLOOD_PER_S / 20 * (lasts_s + 1) + BURST
    result.met = result.failures == 0 and 0 < mine.ok <= most
    return result
