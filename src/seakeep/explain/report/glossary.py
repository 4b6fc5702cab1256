"""The few words that a reader of a report needs."""

from seakeep.explain.report.markup import Markup, raw, tag

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Scenario",
        "Some time in which certain faults strike the system, and what must hold meanwhile.",
    ),
    (
        "Objective (SLO)",
        "A promise about requests: which share of them must be good, over a window of time. For "
        "availability, good means answered without an error; for latency, also soon enough.",
    ),
    (
        "Error budget",
        "The requests that may be bad without breaking the objective: 0.1% of all of them when "
        "99.9% are promised.",
    ),
    (
        "Percentile (p50, p99)",
        "p99 is the time that 99% of requests stay within, and 1% exceed. p50 is the middle: "
        "half are quicker.",
    ),
    (
        "Failed, rejected, timed out",
        "Failed: an error, or nobody there, also after retries. Rejected: refused on purpose, to "
        "protect what is left. Timed out: nobody waited any longer for the answer.",
    ),
    (
        "Region, zone, node",
        "A region is a place on the map; its zones fail apart from one another; a node is one "
        "machine in a zone.",
    ),
    (
        "Instance",
        "One running copy of a service. It is ready when it can take requests.",
    ),
    (
        "Utilisation",
        "How many of the worker slots of ready instances are taken. Near 100% requests queue.",
    ),
    (
        "Balancer, ejection",
        "What sends each request to one of the ready instances. It takes an instance that fails "
        "out of rotation by itself (ejects it), within about a second, and lets it back later.",
    ),
    (
        "Controller",
        "A part of Seakeep that decides: restarts, scaling, where traffic goes. The simulator runs "
        "the very controllers that run the system for real.",
    ),
    (
        "Seed, run",
        "Chance (when requests come, how long they take) is drawn from a number, the seed. The "
        "same seed gives the same run to the last bit; several seeds show what is luck.",
    ),
    (
        "Interval (95%)",
        "Below a mean over runs: where the true mean is, with 95% confidence.",
    ),
    (
        "Time to detect, time to recover",
        "From the first fault: until a balancer or a controller did something about it, and until "
        "every objective was met again for good.",
    ),
    (
        "Instance-hours",
        "The time for which instances ran, added up: what the scenario costs.",
    ),
)


def glossary() -> Markup:
    entries = [(tag("dt", term), tag("dd", meaning)) for term, meaning in TERMS]
    return tag(
        "section",
        tag("h2", "Words"),
        tag("dl", entries, class_="words"),
        id="words",
    )


MADE_BY = raw("Made by <b>seakeep simulate</b>. Nothing in this file is loaded from elsewhere.")
