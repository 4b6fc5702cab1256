"""The node agent's messages: what is written is read back; anything else is a CodecError."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from seakeep.engines.local.node.codec import (
    CodecError,
    decode_line,
    decode_state,
    decode_workload,
    encode_line,
    encode_report,
    encode_workload,
    merge_report,
)
from seakeep.model.observation import Address, InstanceState, Phase, ProbeReading
from seakeep.model.system import (
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    Probe,
    ProbeKind,
    Protocol,
    Resources,
    TcpCheck,
    Workload,
)

texts = some.text(some.characters(exclude_categories=["Cs"]), max_size=20)
times = some.integers(0, 2**62)
counts = some.integers(1, 10_000)
addresses = some.builds(Address, host=texts, port=some.integers(0, 65535))
readings = some.builds(
    ProbeReading,
    kind=some.sampled_from(ProbeKind),
    ok=some.booleans(),
    count=counts,
    passed=some.booleans(),
    checked_at=times,
    detail=texts,
)
states = some.builds(
    InstanceState,
    id=texts,
    service=texts,
    region=texts,
    zone=texts,
    node=texts,
    revision=texts,
    address=addresses,
    phase=some.sampled_from(Phase),
    pid=some.none() | counts,
    created_at=times,
    started_at=times,
    restarts=some.integers(0, 1000),
    probes=some.lists(readings, max_size=3).map(tuple),
    draining_since=some.none() | times,
    exited_at=some.none() | times,
    exit_detail=texts,
    cpu_millicores=some.floats(0, 1e6),
    memory_bytes=times,
)
checks = (
    some.builds(HttpCheck, path=texts)
    | some.just(TcpCheck())
    | some.builds(ExecCheck, command=some.lists(texts, min_size=1, max_size=4).map(tuple))
    | some.builds(GrpcCheck, service=texts)
)
probes = some.builds(
    Probe,
    kind=some.sampled_from(ProbeKind),
    check=checks,
    period=counts,
    timeout=counts,
    failures=counts,
    successes=counts,
    delay=times,
)
workloads = some.builds(
    Workload,
    command=some.lists(texts, max_size=5).map(tuple),
    port=some.integers(0, 65535),
    protocol=some.sampled_from(Protocol),
    env=some.lists(some.tuples(texts, texts), max_size=4).map(tuple),
    resources=some.builds(Resources, cpu_millicores=counts, memory_bytes=times),
    probes=some.lists(probes, max_size=3).map(tuple),
    stop_grace=times,
    revision=texts,
)
junk = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**63), 2**63) | some.floats() | texts,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(states)
def test_states_survive(state: InstanceState) -> None:
    assert decode_state(decode_line(encode_line({"x": state}))["x"]) == state


@given(workloads)
def test_workloads_survive(workload: Workload) -> None:
    assert decode_workload(decode_line(encode_line(encode_workload(workload)))) == workload


@given(some.lists(states, unique_by=lambda state: state.id, max_size=5), some.data())
def test_reports_add_up(all_states: list[InstanceState], data: some.DataObject) -> None:
    """A full report and then changes lead to what a full report at the end would have said."""
    full = decode_line(encode_report("n", 1, True, all_states, []))["report"]
    known = {state.id: state for state in merge_report({}, full).instances}
    assert known == {state.id: state for state in all_states}
    gone = data.draw(some.lists(some.sampled_from(sorted(known)), unique=True)) if known else []
    new = data.draw(some.lists(states.filter(lambda s: s.id not in gone), max_size=2))
    change = decode_line(encode_report("n", 2, False, new, gone))["report"]
    after = merge_report(known, change)
    wanted = {name: state for name, state in known.items() if name not in gone}
    wanted |= {state.id: state for state in new}
    assert after.instances == tuple(wanted[name] for name in sorted(wanted))
    assert after.at == 2


@given(states, some.data())
def test_spoiled_states_are_refused_or_read(state: InstanceState, data: some.DataObject) -> None:
    fields = decode_line(encode_line({"x": state}))["x"]
    fields[data.draw(some.sampled_from(sorted(fields)))] = data.draw(junk)
    with contextlib.suppress(CodecError):
        decode_state(fields)


@given(workloads, some.data())
def test_spoiled_workloads_are_refused_or_read(workload: Workload, data: some.DataObject) -> None:
    fields = decode_line(encode_line(encode_workload(workload)))
    place = fields
    if fields["probes"] and data.draw(some.booleans()):
        place = fields["probes"][0]
    place[data.draw(some.sampled_from(sorted(place)))] = data.draw(junk)
    with contextlib.suppress(CodecError):
        decode_workload(fields)


@given(some.binary(max_size=200))
def test_bytes_are_an_object_or_refused(line: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert isinstance(decode_line(line), dict)


def test_errors_say_what_is_wanted() -> None:
    with pytest.raises(CodecError, match="want one JSON object"):
        decode_line(b"[]")
    with pytest.raises(CodecError, match="not JSON"):
        decode_line(b"{")
    with pytest.raises(CodecError, match="resources: want an object"):
        decode_workload({})
