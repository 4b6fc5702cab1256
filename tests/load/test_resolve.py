"""Clients that look names up: whom they ask, what they keep, whom they leave."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from seakeep.load.plan import DueRequest, Lane, LoadPlan, Target
from seakeep.load.resolve import GROUPS, Lookup, NotFound, Overstay, Resolver, exchange
from seakeep.load.results import Result
from seakeep.load.run import LoadRun
from seakeep.model.observation import Address
from seakeep.model.time import MILLISECOND, SECOND

HOST = "shop.example"
EDGES = {
    "127.0.0.1": ("east", Address(host="127.0.0.1", port=1)),
    "127.0.0.2": ("west", Address(host="127.0.0.2", port=1)),
}


class Server(asyncio.DatagramProtocol):
    """Answers with one address; counts; may be silent."""

    def __init__(self, address: str = "127.0.0.1", ttl: int = 60) -> None:
        self.address, self.ttl = address, ttl
        self.silent = self.refuses = self.empty = False
        self.asked: list[dns.message.Message] = []

    async def start(self) -> Address:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        host, port = self.transport.get_extra_info("sockname")
        return Address(host=host, port=port)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        if self.silent:
            return
        self.transport.sendto(b"\0\0 of another question", addr)
        answer = dns.message.make_response(query)
        if self.refuses:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif not self.empty:
            answer.answer.append(dns.rrset.from_text(f"{HOST}.", self.ttl, "IN", "A", self.address))
        self.transport.sendto(answer.to_wire(), addr)


def lookup(*servers: Address, overstay: float = 0.0) -> Lookup:
    return Lookup(name=HOST, servers=servers, prefix="198.18.7.0/24", edges=EDGES,
                  overstay=Overstay(share=overstay, factor=3.0))  # fmt: skip


async def regions(resolver: Resolver, times: int) -> Counter[str]:
    return Counter([(await resolver.find()).region for _ in range(times)])


def test_every_group_asks_once_and_tells_its_subnet() -> None:
    async def main() -> None:
        server = Server()
        resolver = Resolver(lookup(await server.start()), "a")
        assert await regions(resolver, 10 * GROUPS) == {"east": 10 * GROUPS}
        assert len(server.asked) == resolver.asked == GROUPS
        query = server.asked[0]
        option = query.options[0]
        assert isinstance(option, dns.edns.ECSOption)
        assert (option.address, option.srclen, option.scopelen) == ("198.18.7.0", 24, 0)
        assert str(query.question[0].name) == f"{HOST}."

    asyncio.run(main())


def test_answers_are_kept_for_their_ttl_and_by_some_for_longer() -> None:
    async def main() -> None:
        server = Server(ttl=1)
        resolver = Resolver(lookup(await server.start(), overstay=0.25), "a")
        await regions(resolver, GROUPS)
        server.address = "127.0.0.2"
        await asyncio.sleep(1.2)  # the first TTL is cut short for each group, by chance
        await regions(resolver, GROUPS)
        begun = time.monotonic()
        left = {"west"}
        while left != {"west"} or time.monotonic() - begun < 0.1:
            left = set(await regions(resolver, GROUPS))
            assert time.monotonic() - begun < 30
            await asyncio.sleep(0.02)
        kept = {round(group.factor) for group in resolver._groups}
        assert kept == {1, 3}
        assert sum(group.factor == 3.0 for group in resolver._groups) == GROUPS // 4

    asyncio.run(main())


def test_a_silent_server_is_left_for_the_next_and_avoided() -> None:
    async def main() -> None:
        near, far = Server(), Server("127.0.0.2")
        resolver = Resolver(lookup(await near.start(), await far.start()), "a",
                            timeout=200 * MILLISECOND)  # fmt: skip
        near.silent = True
        assert await regions(resolver, 2 * GROUPS) == {"west": 2 * GROUPS}
        assert len(near.asked) == 1
        assert len(far.asked) == GROUPS
        assert resolver.unanswered == 1

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["refuses", "empty"])
def test_a_useless_answer_is_as_good_as_none(trouble: str) -> None:
    async def main() -> None:
        near, far = Server(), Server("127.0.0.2")
        resolver = Resolver(lookup(await near.start(), await far.start()), "a")
        setattr(near, trouble, True)
        assert await regions(resolver, 1) == {"west": 1}

    asyncio.run(main())


def test_an_old_answer_serves_on_when_nobody_answers() -> None:
    async def main() -> None:
        server = Server(ttl=0)
        resolver = Resolver(lookup(await server.start()), "a", timeout=50 * MILLISECOND)
        await regions(resolver, GROUPS)
        server.silent = True
        assert await regions(resolver, GROUPS) == {"east": GROUPS}

    asyncio.run(main())


def test_without_any_answer_there_is_no_address() -> None:
    async def main() -> None:
        server = Server()
        server.silent = True
        resolver = Resolver(lookup(await server.start()), "a", timeout=20 * MILLISECOND)
        with pytest.raises(NotFound):
            await resolver.find()
        other = Server("127.9.9.9")
        with pytest.raises(NotFound, match="no edge of the system"):
            await Resolver(lookup(await other.start()), "a").find()
        await resolver.close()

    asyncio.run(main())


def test_a_truncated_answer_is_fetched_by_tcp() -> None:
    async def main() -> None:
        server = Server()
        address = await server.start()
        whole = b""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            nonlocal whole
            whole = query[:2] + b"\x80\0 whole"
            writer.write(len(whole).to_bytes(2, "big") + whole)
            writer.close()

        tcp = await asyncio.start_server(talk, address.host, address.port)
        question = dns.message.make_query(HOST, "A").to_wire()
        server.datagram_received = (
            lambda data, addr: server.transport.sendto(  # type: ignore
                data[:2] + b"\x82\0" + data[4:], addr
            )
        )
        async with asyncio.timeout(20):
            assert await exchange(question, address) == whole
        tcp.close()

    asyncio.run(main())


@contextmanager
def plan_of(lane: Lane, count: int) -> Iterator[LoadPlan]:
    yield LoadPlan(
        lanes=(lane,),
        requests=lambda: iter([DueRequest(n * 10 * MILLISECOND, 0, "GET", "/")
                               for n in range(count)]),
    )  # fmt: skip


def test_a_run_tells_where_requests_went_and_which_found_nobody() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def main() -> None:
        http = await asyncio.start_server(answer, "127.0.0.2", 0)
        edge = Address(host="127.0.0.2", port=http.sockets[0].getsockname()[1])
        server = Server("127.0.0.2")
        found = Lookup(name=HOST, servers=(await server.start(),), prefix="198.18.7.0/24",
                       edges={edge.host: ("west", edge)})  # fmt: skip
        nowhere = Target(address=Address(host="127.0.0.1", port=1), host=HOST, region="east")
        lane = Lane(source="a", service="web", target=nowhere, lookup=found)
        with plan_of(lane, 50) as plan:
            run = LoadRun(plan)
            final = await run.run(2 * SECOND)
        (source,) = final.sources
        assert (source.ok, dict(source.regions), source.region) == (50, {"west": 50}, "west")
        server.refuses = True
        with plan_of(lane, 5) as plan:
            run = LoadRun(plan)
            final = await run.run(SECOND)
        assert final.total.failed == {Result.UNRESOLVED: 5}
        assert "SERVFAIL" in run.failures()[0].detail
        assert run.failures()[0].region is None
        http.close()

    asyncio.run(main())
