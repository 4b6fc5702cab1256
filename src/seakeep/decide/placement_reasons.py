"""What placement says, code by code."""

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "placement.start.missing": (
        "{instance} starts on {node}: {subject} has {placed} of the wanted {wanted}"
    ),
    "placement.start.heal": (
        "{instance} starts on {node} to replace what was lost: {subject} has {placed} of the wanted"
        " {wanted}, and {lost} lost"
    ),
    "placement.start.replace": (
        "{instance} starts on {node} to take over from a replica of {subject} that is outdated or"
        " misplaced, {leavers} in all"
    ),
    "placement.start.evacuate": (
        "{instance} starts on {node} to take over from {evacuees} of {subject} in regions that are"
        " being drained: elsewhere it has {placed} of the wanted {wanted}"
    ),
    "placement.start.return": (
        "{instance} starts on {node}: its region is drained no more; one of {subject} leaves"
        " elsewhere once it is ready"
    ),
    "placement.start.rebalance": (
        "{instance} starts on {node} to spread {subject} evenly again; one leaves elsewhere once"
        " it is ready"
    ),
    "placement.drain.surplus": (
        "{subject} drains: its service has {placed} and wants {wanted}, and its place has most to"
        " spare"
    ),
    "placement.drain.replaced": "{subject} drains: it does not run as the spec now says",
    "placement.drain.taken_back": "{subject} drains: its version is taken back",
    "placement.drain.place_left": "{subject} drains: {node} is not in the spec any more",
    "placement.drain.rebalance": (
        "{subject} drains to spread its service evenly again, which has {ready} ready"
    ),
    "placement.drain.evacuated": (
        "{subject} drains: its region is being drained (ready elsewhere: {ready} of {wanted})"
    ),
    "placement.drain.service_left": "{subject} drains: its service is not in the spec any more",
    "placement.stop.drained": (
        "{subject} stops: it has drained for {drained_ns}, and no balancer sends it requests"
    ),
    "placement.stop.exited": "{subject} is forgotten: it was leaving and its process has exited",
    "placement.stop.lost": "{subject} is forgotten: lost with {node}, and replaced",
    "placement.held.surge": (
        "{subject} waits with {waiting} of its replacements: it has {live} live instances already,"
        " and may have {limit}"
    ),
    "placement.held.node": (
        "{subject} waits with {waiting} of its replicas for {node}, which may be back in a moment"
    ),
    "placement.held.starting": (
        "{subject} waits with {waiting} of its replicas: at most {limit} may be starting on {node}"
        " at once"
    ),
    "placement.held.ready": (
        "{subject} keeps {waiting} more than wanted for now: it has {ready} ready, and must have"
        " {floor}"
    ),
    "placement.held.return": (
        "{subject} keeps {waiting} more than wanted for now: they stood in for a region that comes"
        " back, and callers are still on their way there"
    ),
    "placement.held.evacuees": (
        "{subject} keeps {waiting} more in regions that are being drained: elsewhere it has {ready}"
        " ready, and must have {floor}"
    ),
    "placement.held.serving": "{subject} has drained, but balancers still send requests to it",
    "placement.overflow": (
        "{subject} has {replicas} of its replicas elsewhere, for want of room in {region}"
    ),
    "placement.no_capacity": (
        "{subject} has no place for {replicas} of the wanted {wanted}: they need {cpu_millicores}"
        " of CPU and {memory_bytes} of memory, and its nodes (there are {nodes}, in {places}) have"
        " too little {short} left"
    ),
    "placement.aside": (
        "{subject} is left alone until {until_ns}: starts fail there (the last {failures} did)"
    ),
    "placement.settled": "{subject} has all that it wants, {replicas}: ready and evenly spread",
}
