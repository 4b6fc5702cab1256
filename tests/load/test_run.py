"""The open loop against real servers."""

import asyncio
import socket
import time

import pytest

from seakeep.load.plan import DueRequest, Lane, LoadPlan, Target
from seakeep.load.results import Result
from seakeep.load.run import LoadRun
from seakeep.model.observation import Address
from seakeep.model.time import MILLISECOND, SECOND

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def even(target, rate, seconds, path="/", method="GET", count=None):
    """A plan with evenly spaced requests."""
    gap = SECOND // rate

    def requests():
        for index in range(rate * seconds if count is None else count):
            yield DueRequest(index * gap, 0, method, path)

    return LoadPlan(lanes=(Lane(source="a", service="web", target=target),), requests=requests)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def adds_up(snapshot):
    total = snapshot.total
    return total.due == (total.ok + sum(total.declined.values()) + total.failures + total.in_flight)


def test_every_due_request_is_sent_and_counted_once(serving, answering):
    async def main():
        async with serving(answering()) as target:
            run = LoadRun(even(target, 200, 2))
            return run, await run.run()

    run, final = asyncio.run(main())
    assert final.total.due == final.total.sent == final.total.ok == 400
    assert final.total.failures == 0
    assert adds_up(final)
    assert final.total.total.count == 400
    assert [row.ok + row.failed for row in run.series("a")] == [200, 200]
    assert set(run.histograms()) == {("a", "web", Result.OK_2XX)}
    assert final.elapsed > 1.5 * SECOND


def test_a_stall_is_felt_by_every_request_that_was_due_in_it(serving):
    """Coordinated omission: a closed loop would see one slow request, and a fine p99."""
    stall_from, stall_until = 0.5, 1.5

    async def main():
        began = None

        async def behave(head, writer):
            nonlocal began
            began = began or time.monotonic()
            since = time.monotonic() - began
            if stall_from <= since < stall_until:
                await asyncio.sleep(stall_until - since)
            writer.write(OK)

        async with serving(behave) as target:
            run = LoadRun(even(target, 100, 2))
            return run, await run.run()

    run, final = asyncio.run(main())
    assert final.total.ok == 200
    latencies = final.total.total
    # Half of the requests were due within the stall: they waited half a second on average.
    assert latencies.p50 < 600 * MILLISECOND
    assert latencies.p90 > 700 * MILLISECOND
    assert latencies.p99 > 900 * MILLISECOND
    first, second = run.series("a")[:2]
    assert first.p99 > 900 * MILLISECOND
    assert second.p99 > 400 * MILLISECOND


def test_a_client_that_falls_behind_says_so_and_counts_from_the_due_time(serving, answering):
    async def main():
        async with serving(answering()) as target:
            run = LoadRun(even(target, 100, 2))
            loop = asyncio.get_running_loop()
            loop.call_later(0.5, time.sleep, 0.8)  # this client's own stall
            return await run.run()

    final = asyncio.run(main())
    assert final.total.ok == 200
    assert final.client.late >= 70
    assert final.client.lateness_max > 700 * MILLISECOND
    assert not final.client.kept_up
    assert "could not keep up" in final.client.warning
    assert final.total.total.p90 > 300 * MILLISECOND


def test_requests_beyond_the_cap_are_failures_never_dropped(serving):
    async def main():
        async def silent(head, writer):
            await asyncio.sleep(60)

        async with serving(silent) as target:
            run = LoadRun(even(target, 100, 1), timeout=3 * SECOND, in_flight_max=20)
            return run, await run.run()

    run, final = asyncio.run(main())
    assert final.total.due == 100
    assert final.total.sent == 20
    assert final.total.failed == {Result.TIMEOUT: 20, Result.OVERLOADED: 80}
    assert adds_up(final)
    assert not final.client.kept_up
    log = run.failures()
    assert len(log) == 100
    assert run.failures(10) == log[:10]
    assert run.failures(after=90) == log[90:]
    assert run.failures(after=100) == []
    # A timeout is a lower bound of a latency; a request that was not sent has none.
    assert final.total.total.count == 20
    assert final.total.total.p50 >= 3 * SECOND


REPLIES = {
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", False, Result.OK_2XX, 204),
    "302": (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        False, Result.OK_3XX, 302,
    ),
    "404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", False, Result.CLIENT_ERROR, 404),
    "429": (b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", False, Result.LIMITED, 429),
    "503": (b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nno\n", False, Result.SERVER_ERROR, 503),
    "503, come again": (
        b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", False, Result.SHED, 503,
    ),
    "nothing": (b"", True, Result.RESET, None),
    "half an answer": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", True, Result.RESET, None,
    ),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", True, Result.RESET, None,
    ),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", True, Result.RESET, None),
    "garbage": (b"\x00\x01\x02 what is this\r\n\r\n", True, Result.PROTOCOL, None),
    "bad chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        True, Result.PROTOCOL, None,
    ),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        False, Result.OK_2XX, 200,
    ),
    "to the end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody", True, Result.OK_2XX, 200),
    "not gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        False, Result.OK_2XX, 200,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLIES)
def test_every_end_has_its_class(serving, answering, name):
    reply, hang_up, result, status = REPLIES[name]

    async def main():
        async with serving(answering(reply, hang_up=hang_up)) as target:
            run = LoadRun(even(target, 50, 1, count=5), timeout=10 * SECOND)
            return run, await run.run()

    run, final = asyncio.run(main())
    assert set(run.histograms()) == {("a", "web", result)}
    assert adds_up(final)
    if result.ok:
        assert final.total.ok == 5
    elif result.declined:
        assert final.total.declined == {result: 5}
        assert final.total.failures == 0
        assert run.failures() == []
    else:
        assert final.total.failed == {result: 5}
        assert {failure.status for failure in run.failures()} == {status}
        assert all(failure.detail for failure in run.failures())


def test_refused_and_then_there_again(serving, answering):
    """The pool reconnects by itself once the edge is back."""
    port = free_port()
    target = Target(address=Address(host="127.0.0.1", port=port), host="x")

    async def main():
        run = LoadRun(even(target, 50, 3))
        running = asyncio.create_task(run.run())
        await asyncio.sleep(1)

        async def handle(reader, writer):
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(OK)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", port)
        final = await running
        server.close()
        return run, final

    run, final = asyncio.run(main())
    refused = final.total.failed[Result.REFUSED]
    assert set(final.total.failed) == {Result.REFUSED}
    assert refused >= 40
    assert final.total.ok >= 50
    middle = run.began_at + SECOND // 2
    early = run.failed_between(run.began_at, middle)
    assert [f.due_at for f in early] == [run.began_at + i * 20 * MILLISECOND for i in range(25)]
    assert len(early) + len(run.failed_between(middle, middle + 60 * SECOND)) == refused


def test_a_kept_connection_that_breaks_is_a_failure_not_a_hidden_retry(serving):
    answered = 0

    async def main():
        async def every_other(head, writer):
            nonlocal answered
            answered += 1
            if answered % 2:
                writer.write(OK)
            else:
                writer.close()

        async with serving(every_other) as target:
            return await LoadRun(even(target, 20, 1)).run()

    final = asyncio.run(main())
    assert answered == 20
    assert final.total.ok == 10
    assert final.total.failed == {Result.RESET: 10}


def test_what_goes_on_the_wire_is_what_was_planned(serving):
    heads = []

    async def main():
        async def remember(head, writer):
            heads.append(head)
            writer.write(OK)

        path = '/a/../b//%7e%zz?q="<x>&y=a+b%20c&z={1}|`^'
        async with serving(remember) as target:
            target = Target(
                address=target.address, host="shop.example", headers=(("x-beta", "yes"),)
            )
            await LoadRun(even(target, 1, 1, path=path)).run()
            await LoadRun(even(target, 1, 1, method="DELETE")).run()
        return path

    path = asyncio.run(main())
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == f"GET {path} HTTP/1.1"
    fields = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }
    assert fields["host"] == "shop.example"
    assert fields["x-beta"] == "yes"
    assert "accept-encoding" not in fields
    assert heads[1].startswith(b"DELETE / HTTP/1.1\r\n")


def test_stopping_ends_the_run_early_and_keeps_what_was_measured(serving, answering):
    async def main():
        stop = asyncio.Event()
        async with serving(answering()) as target:
            asyncio.get_running_loop().call_later(0.5, stop.set)
            return await LoadRun(even(target, 100, 60)).run(60 * SECOND, stop)

    final = asyncio.run(main())
    assert 10 <= final.total.ok < 3_000
    assert final.elapsed < 30 * SECOND
    assert adds_up(final)


def test_the_duration_bounds_what_is_due(serving, answering):
    async def main():
        async with serving(answering()) as target:
            return await LoadRun(even(target, 50, 60)).run(SECOND)

    final = asyncio.run(main())
    assert final.total.due == final.total.ok == 50
    assert final.elapsed >= SECOND


def test_a_stream_that_fails_ends_the_run_with_its_error(serving, answering):
    def broken():
        yield DueRequest(0, 0, "GET", "/")
        raise OSError("disk gone")

    async def main():
        async with serving(answering()) as target:
            lane = Lane(source="a", service="web", target=target)
            await LoadRun(LoadPlan(lanes=(lane,), requests=broken)).run()

    with pytest.raises(OSError, match="disk gone"):
        asyncio.run(main())


def test_intervals_cover_everything_once(serving, answering):
    closed = []

    async def main():
        async with serving(answering()) as target:
            run = LoadRun(
                even(target, 100, 2), on_interval=lambda *interval: closed.append(interval)
            )
            return await run.run()

    final = asyncio.run(main())
    assert sum(h.count for _, _, lanes in closed for _, h in lanes) == final.total.ok
    assert [start for start, _, _ in closed[1:]] == [end for _, end, _ in closed[:-1]]


def test_snapshots_while_it_runs(serving, answering):
    async def main():
        async with serving(answering()) as target:
            run = LoadRun(even(target, 100, 3))
            before = run.snapshot()
            running = asyncio.create_task(run.run())
            await asyncio.sleep(2.3)
            during = run.snapshot()
            await running
            return before, during

    before, during = asyncio.run(main())
    assert before.total.due == 0
    assert before.elapsed == 0
    assert during.total.due > 100
    assert adds_up(during)
    assert 50 < during.total.rps < 150
    assert during.total.interval.p50 is not None
