# SPDX-License-Identifier: Apache-2.0
"""Clients that leave: nothing stays behind on the engines, whatever the moment, and every counter returns to 0."""
import asyncio
import os
import random

from harness import RouterTest, main, until

STREAM = {"prompt": "a", "stream": True, "max_tokens": 500}


class Phases(RouterTest):
    async def leave(self, client, how):
        client.reset() if how == "reset" else client.close()

    async def test_during_prefill(self):
        for how in ("close", "reset"):
            self.p.script = [{"hold": asyncio.Event()}]
            client = await self.router.client()
            client.send(STREAM)
            await until(lambda: self.p.active == 1, "prefill at work")
            await self.leave(client, how)
            await until(lambda: self.p.active == 0, "prefill aborted")
        rows = await self.router.idle()
        self.assertEqual((rows["clients_left_in_prefill_total"], rows["stranded_total"]), (2, 0))
        self.assertEqual((self.d.requests, self.stranded()), ([], []))
        self.assertEqual([(line["status"], line["client_left"]) for line in await self.router.log(2)], [(499, "prefill")] * 2)

    async def test_prefill_answers_all_the_same(self):
        for how in ("close", "reset"):
            hold = asyncio.Event()
            self.p.script = [{"hold": hold, "deaf": True}]
            client = await self.router.client()
            client.send(STREAM)
            await until(lambda: self.p.active == 1, "prefill at work")
            await self.leave(client, how)
            await until(lambda: True, "")
            while (await self.router.metrics())["clients_left_in_prefill_total"] == 0:
                await asyncio.sleep(0.01)
            hold.set()
            await self.router.idle()
            seen = self.d.requests[-1]["body"]
            self.assertEqual((seen["max_tokens"], seen["stream"]), (1, False))  # one token for nobody
            self.assertIn("remote_request_id", seen["kv_transfer_params"])
        self.assertEqual((len(self.d.requests), self.stranded()), (2, []))

    async def test_prefill_never_notices(self):
        self.p.script = [{"hold": asyncio.Event(), "deaf": True}]
        client = await self.router.client()
        client.send(STREAM)
        await until(lambda: self.p.active == 1, "prefill at work")
        client.close()
        rows = await self.router.idle()  # the router gives up by itself
        self.assertEqual(rows["clients_left_in_prefill_total"], 1)

    async def test_after_prefill_before_decode_claims(self):
        for how in ("close", "reset"):
            admitting, hold = asyncio.Event(), asyncio.Event()
            self.d.script = [{"admitting": admitting, "admit_hold": hold, "chunks": 100000, "gap": 0.01}]
            client = await self.router.client()
            client.send(STREAM)
            await admitting.wait()
            await self.leave(client, how)
            # a request of another client shows that the router has seen it
            await self.ask({"prompt": ["a", "b"]})
            while (await self.router.metrics())["clients_left_in_decode_total"] == 0:
                await asyncio.sleep(0.01)
            self.assertEqual(self.d.active, 1)  # still connected: it has to take the blocks
            hold.set()
            await until(lambda: self.d.active == 0, "decode ended at its first byte")
            await self.router.idle()
        self.assertEqual(self.stranded(), [])
        self.assertEqual(sum("kv_transfer_params" in r["body"] for r in self.d.requests), 2)  # each just once

    async def test_within_the_stream(self):
        for how in ("close", "reset"):
            self.d.script = [{"chunks": 100000, "gap": 0.01}]
            client = await self.router.client()
            client.send(STREAM)
            await client.head()
            await client.piece()
            await self.leave(client, how)
            await until(lambda: self.d.active == 0, "decode closed")
        rows = await self.router.idle()
        self.assertEqual(self.stranded(), [])
        self.assertGreaterEqual(rows["clients_left_in_stream_total"], 1)
        # what was broken off is not used again
        connections = self.d.connections
        self.assertEqual((await self.ask(STREAM)).status, 200)
        self.assertEqual(self.d.connections, connections + 1)

    async def test_before_the_body_is_there(self):
        client = await self.router.client()
        client.writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(0.05)
        client.close()
        await self.router.idle()
        self.assertEqual(self.p.requests, [])

    async def test_a_slow_reader_is_waited_for(self):
        self.d.script = [{"chunks": 600, "fat": 20000}]
        client = await self.router.client()
        client.send(STREAM)
        await client.head()
        first = await client.piece()
        await asyncio.sleep(0.3)
        rest = b""
        while piece := await client.piece():
            rest = (rest + piece)[-100:]
        self.assertTrue(rest.endswith(b"data: [DONE]\n\n"))
        self.assertIn(b'" 0.', first)
        client.close()

    async def test_http10_and_pipelining(self):
        client = await self.router.client()
        client.send({"prompt": "a"})
        client.send({"prompt": "b"})  # bytes behind a request are no sign of leaving
        self.assertEqual([(await client.answer()).status, (await client.answer()).status], [200, 200])
        client.close()


class Storm(RouterTest):
    """Random clients leave at random moments of random requests."""
    prefills, decodes, arguments = 2, 2, ("--workers", "2")
    count = int(os.environ.get("ABORTS", "1000"))

    async def one(self, dice):
        client = await self.router.client()
        body = {"prompt": "x" * dice.choice([1, 1, 100, 5000, 200000]), "stream": dice.random() < 0.7}
        client.send(body)
        try:
            await asyncio.wait_for(client.answer(), dice.choice([0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1]))
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass
        client.reset() if dice.random() < 0.5 else client.close()

    async def test_storm(self):
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print("seed:", seed)
        dice = random.Random(seed)
        for engine in self.P:
            engine.default = {"delay": 0.01}
        for engine in self.D:
            engine.default = {"delay": 0.01, "chunks": 10, "gap": 0.005}
        gate = asyncio.Semaphore(64)

        async def gated():
            async with gate:
                await self.one(random.Random(dice.random()))
        await asyncio.gather(*[gated() for _ in range(self.count)])
        rows = await self.router.idle()
        await until(lambda: not any(engine.active for engine in self.P + self.D), "idle engines")
        print(f"stranded: {len(self.stranded())} of {len(self.ledger.leases)}")
        self.assertEqual(self.stranded(), [], rows)
        self.assertEqual((rows["stranded_total"], rows["requests_total"]), (0, len(await self.router.log())))
        self.assertEqual((await self.ask()).status, 200)


if __name__ == "__main__":
    main()
