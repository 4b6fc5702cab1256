"""One instance of the twin: what it is, where it stands, and how it answers who asks for its
health. No effects here: `instances` lets things happen to bodies."""

from dataclasses import dataclass, field

from seakeep.engines.twin.checks import Reach, readiness
from seakeep.engines.twin.probes import PASSES, Answer, Probing
from seakeep.engines.twin.world import Process
from seakeep.model.ids import InstanceId, NodeId, RegionName, ServiceName, ZoneName
from seakeep.model.observation import Address, InstanceState, Phase, ProbeReading, Sample
from seakeep.model.scenario import Deploy
from seakeep.model.system import (
    ExecCheck,
    HttpCheck,
    Probe,
    ProbeKind,
    Protocol,
    Service,
    TcpCheck,
    Workload,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

REFUSED = Answer(False, "connection refused")
EXITS = Answer(False, "exit code 1")
NOT_READY = Answer(False, "HTTP 503")

WELL = Reach(True)
TURNED_AWAY = Reach(False)
SILENT = Reach(False, None)


@dataclass(slots=True, kw_only=True, eq=False)
class Body:
    id: InstanceId
    ordinal: int
    service: ServiceName
    region: RegionName
    zone: ZoneName
    node: NodeId
    workload: Workload
    address: Address
    deploy: Deploy | None
    """What is wrong with the version that it runs."""
    by_path: bool
    """Whether Envoy's checks ask for a path; else they only open the port."""
    created_at: Instant
    started_at: Instant
    restarts: int = 0
    turn: int = 0
    """Counts processes and their ends, so that an overtaken entry of the agenda can tell."""
    ready_at: Instant | None = None
    """When the start of the present process is over; None while it is held up."""
    start_left: Duration = 0
    """Of a start that is held up."""
    up: bool = False
    """The start of the present process is over."""
    runs: bool = False
    """There is a process, even if nobody can tell."""
    frozen: int = 0
    """Freezes that are held on the present process."""
    out: int = 0
    """Outages of its service that last."""
    dark: bool = False
    """Its node has no power."""
    away: bool = False
    """Nobody on its node reports."""
    phase: Phase = Phase.RUNNING
    exited_at: Instant | None = None
    exit_detail: str = ""
    draining_since: Instant | None = None
    stop_by: Instant | None = None
    probing: Probing | None = None
    readings: tuple[ProbeReading, ...] = ()
    """Of the process's last word, once it is no longer probed."""
    told: dict[ProbeKind, Answer] = field(default_factory=dict)
    """What its checks meet."""
    news_at: Instant = 0
    process: Process = Process.STARTING
    """As the data plane has it."""
    reach: Reach = TURNED_AWAY
    cpu_millicores: float = 0.0
    memory_bytes: int = 0
    cpu_ns: float = 0.0
    """Used by the last measurement."""
    state: InstanceState | None = None
    """As last shown; None when that is out of date."""
    steady: bool = False
    """Nothing of it changes by itself as time passes."""
    sample: Sample[InstanceState] | None = None

    @property
    def lives(self) -> bool:
        return self.exited_at is None

    @property
    def serves(self) -> bool:
        """Whether it is ready, and not on its way out."""
        return (
            self.process is Process.SERVING
            and self.draining_since is None
            and self.phase is Phase.RUNNING
        )


def process_of(body: Body) -> Process:
    """How the data plane is to take it."""
    if body.dark:
        return Process.DARK
    if not body.lives:
        return Process.DEAD
    if not body.up or _never_ready(body):
        return Process.STARTING
    if body.out:
        return Process.DEAD
    return Process.FROZEN if body.frozen else Process.SERVING


def reach_of(body: Body) -> Reach:
    """What Envoy's check of it meets."""
    if body.dark:
        return SILENT
    if not body.lives or not body.up or body.out:
        return TURNED_AWAY
    if not body.by_path:
        return WELL  # the kernel accepts on behalf of a process that is frozen
    if body.frozen:
        return SILENT
    return TURNED_AWAY if _spoiled(body) is ProbeKind.READINESS else WELL


def answer_of(body: Body, probe: Probe) -> Answer:
    """What its node's check of it meets."""
    check = probe.check
    if not body.up or body.out:
        return EXITS if isinstance(check, ExecCheck) else REFUSED
    if body.frozen:
        if isinstance(check, TcpCheck):
            return PASSES
        return Answer(False, f"timed out after {_brief(probe.timeout)}", hangs=True)
    return NOT_READY if _spoiled(body) is probe.kind else PASSES


def _spoiled(body: Body) -> ProbeKind | None:
    """The probe that never passes, of a version that never gets ready."""
    if body.deploy is None or body.deploy.ready:
        return None
    kinds = [one.kind for one in body.workload.probes if not isinstance(one.check, TcpCheck)]
    return next((k for k in (ProbeKind.READINESS, ProbeKind.STARTUP) if k in kinds), None)


def _never_ready(body: Body) -> bool:
    return body.deploy is not None and not body.deploy.ready


def never_up(body: Body) -> bool:
    """Whether it never even listens: it is not ready, and no probe could say so otherwise."""
    return _never_ready(body) and _spoiled(body) is None


def asks_path(service: Service) -> bool:
    """As `engines.local.envoy.clusters.readiness_path`."""
    probe = readiness(service)
    is_http = service.workload.protocol is Protocol.HTTP
    return is_http and probe is not None and isinstance(probe.check, HttpCheck)


def state_of(body: Body, at: Instant) -> InstanceState:
    """As its node tells it."""
    lives = body.lives
    return InstanceState(
        id=body.id,
        service=body.service,
        region=body.region,
        zone=body.zone,
        node=body.node,
        revision=body.workload.revision,
        address=body.address,
        phase=body.phase if lives else Phase.EXITED,
        pid=body.turn if lives else None,
        created_at=body.created_at,
        started_at=body.started_at,
        restarts=body.restarts,
        probes=body.readings if body.probing is None else body.probing.readings(at),
        draining_since=body.draining_since,
        exited_at=body.exited_at,
        exit_detail=body.exit_detail,
        cpu_millicores=body.cpu_millicores if lives else 0.0,
        memory_bytes=body.memory_bytes if lives else 0,
    )


def _brief(duration: Duration) -> str:
    if duration < SECOND:
        return f"{duration / MILLISECOND:g}ms"
    return f"{duration / SECOND:g}s"
