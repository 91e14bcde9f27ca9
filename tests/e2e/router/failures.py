# SPDX-License-Identifier: Apache-2.0
"""The failure table of docs/router.md: what the client sees when an engine fails, and what the engines see."""
import asyncio
import json

from harness import RouterTest, main, until

STREAM = {"prompt": "a", "stream": True}


class Prefill(RouterTest):
    async def test_refused(self):
        await self.p.stop()
        answer = await self.ask()
        self.assertEqual((answer.status, answer.code), (502, "prefill_unreachable"))
        self.assertEqual(self.d.requests, [])
        line = (await self.router.log(1))[0]
        self.assertEqual((line["prefill_failure"], line["stranded"], line["status"]), ("unreachable", 0, 502))

    async def test_its_own_error_passes(self):
        body = b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}, "extra":1}'
        for status in (400, 404, 422, 500, 503):
            self.p.script = [{"status": status, "body": body}]
            answer = await self.ask(STREAM)
            self.assertEqual((answer.status, answer.body, answer.header("content-type")), (status, body, "application/json"))
        self.assertEqual(self.d.requests, [])

    async def test_other_words_become_an_envelope(self):
        for status, body, kind in ((500, b"Internal Server Error", "text/plain"), (403, b"<html>", "text/html"),
                                   (503, b"", "text/plain")):
            self.p.script = [{"status": status, "body": body, "type": kind}]
            answer = await self.ask()
            self.assertEqual((answer.status, answer.code), (status, "prefill_failed"))

    async def test_breaks_off(self):
        for reset, times in (("request", 1), ("body", 1)):
            self.p.script = [{"reset": reset}] * times
            answer = await self.ask()
            self.assertEqual((answer.status, answer.code), (502, "prefill_lost"), reset)
        self.assertEqual(self.d.requests, [])

    async def test_nonsense(self):
        for body in (b"not json", b"[]", b'{"kv_transfer_params":"x"}', b"", b'{"a":1'):
            self.p.script = [{"status": 200, "body": body}]
            answer = await self.ask()
            self.assertEqual((answer.status, answer.code), (502, "prefill_failed"), body)
        self.assertEqual(self.d.requests, [])

    async def test_long_answers(self):
        for blocks, chunked in ((3000, False), (3000, True), (200000, False), (200000, True)):
            self.p.script = [{"blocks": blocks, "chunked": chunked}]
            self.assertEqual((await self.ask()).status, 200)
            self.assertEqual(len(self.d.requests[-1]["body"]["kv_transfer_params"]["remote_block_ids"]), blocks)
        self.assertEqual(self.stranded(), [])

    async def test_idle_connection_closed_under_us(self):
        for engine in (self.p, self.d):
            await self.ask()
            engine.script = [{"reset": "reused"}]
            self.assertEqual((await self.ask()).status, 200)
        self.assertEqual(self.stranded(), [])

    async def test_close_after_each_answer(self):
        self.p.default = self.d.default = {"close": True}
        for _ in range(5):
            self.assertEqual((await self.ask(STREAM)).status, 200)
            self.assertEqual((await self.ask()).status, 200)

    async def test_same_client_connection_after_errors(self):
        client = await self.router.client()
        for script in ({"status": 404, "body": b"{}"}, {"reset": "request"}, {"status": 200, "body": b"x"}, {}):
            self.p.script = [script]
            client.send({"prompt": "a"})
            answer = await client.answer()
        self.assertEqual(answer.status, 200)
        client.close()

    async def test_a_dead_engine_is_left_alone(self):
        port = self.p.port
        await self.p.stop()
        codes = [(await self.ask()).code for _ in range(7)]
        self.assertEqual(codes, ["prefill_unreachable"] * 5 + ["prefill_down"] * 2)
        await self.p.start(port)

        async def works():
            while (await self.ask()).status != 200:
                await asyncio.sleep(0.1)
        await asyncio.wait_for(works(), 20)
        self.assertEqual((await self.router.metrics())["breaker_changes_total"] % 2, 0)


class PrefillPair(RouterTest):
    prefills = 2

    async def test_another_one(self):
        for script in ({"reset": "request"}, {"status": 503, "body": b"busy"}, {"status": 502, "body": b""}):
            for engine in self.P:
                engine.requests.clear()
                engine.script = []
            both = [dict(script), None]
            # whichever is asked first fails
            for engine in self.P:
                engine.script = both[:1]
            answer = await self.ask()
            self.assertNotEqual(answer.status, 200)
            self.assertEqual([len(engine.requests) for engine in self.P], [1, 1], script)
            self.P[0].script = both[:1]
            self.P[1].script = []
            self.assertEqual([(await self.ask()).status for _ in range(2)], [200, 200])
        self.assertEqual(self.stranded(), [])

    async def test_refused(self):
        await self.P[0].stop()
        for _ in range(4):
            self.assertEqual((await self.ask()).status, 200)

    async def test_kv_verdicts(self):
        for code in ("kv_stale", "kv_lost", "kv_corrupt"):
            for body in (STREAM, {"prompt": "a"}):
                self.d.script = [{"status": 503, "code": code, "close": code == "kv_lost"}]
                for engine in self.P:
                    engine.requests.clear()
                answer = await self.ask(body)
                self.assertEqual(answer.status, 200)
                self.assertEqual([len(engine.requests) for engine in self.P], [1, 1])  # elsewhere the second time
        self.assertEqual(len(self.d.requests), 12)
        line = (await self.router.log(6))[-1]
        self.assertEqual((line["prefills"], line["again"], line["verdict"]), (2, "corrupt", "valid"))
        rows = await self.router.metrics()
        self.assertEqual([rows[f"verdict_{name}_total"] for name in ("stale", "lost", "corrupt")], [2, 2, 2])
        self.assertEqual(rows["prefill_again_total"], 6)

    async def test_only_once(self):
        self.d.script = [{"status": 503, "code": "kv_stale"}] * 2
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.code), (503, "kv_stale"))
        self.assertEqual(len(self.d.requests), 2)
        for _ in range(6):  # and nobody takes decode for broken
            self.d.script = [{"status": 503, "code": "kv_stale"}] * 2
            self.assertEqual((await self.ask(STREAM)).code, "kv_stale")
        self.assertEqual((await self.router.metrics())["breaker_changes_total"], 0)

    async def test_never_on_refused_or_timeout(self):
        for status, code in ((400, "kv_refused"), (409, "kv_refused"), (503, "kv_refused"), (504, "kv_timeout")):
            self.d.script = [{"status": status, "code": code}]
            answer = await self.ask(STREAM)
            self.assertEqual((answer.status, answer.code), (status, code))
        self.assertEqual(len(self.d.requests), 4)
        self.assertEqual([line["verdict"] for line in await self.router.log(4)], ["refused"] * 3 + ["timeout"])
        # none of this says that the engine is down
        self.assertEqual((await self.router.metrics())["breaker_changes_total"], 0)


class VerdictOneEngine(RouterTest):
    async def test_the_same_engine_prefills_again(self):
        for _ in range(8):
            self.d.script = [{"status": 503, "code": "kv_stale"}]
            self.assertEqual((await self.ask(STREAM)).status, 200)
        self.assertEqual(len(self.p.requests), 16)
        self.assertEqual(self.stranded(), [])

    async def test_no_verdict_for_what_was_no_handoff(self):
        self.d.script = [{"status": 503, "code": "kv_stale"}]
        answer = await self.ask({"prompt": ["a", "b"]})
        self.assertEqual((answer.status, answer.code), (503, "kv_stale"))
        self.assertEqual(self.p.requests, [])


class Decode(RouterTest):
    async def test_its_own_error_passes(self):
        for status, body, kind in ((400, b'{"error":{"message":"x"}}', "application/json"), (503, b"overloaded", "text/plain"),
                                   (500, b"", "text/plain"), (404, b"x" * 100000, "text/plain")):
            self.d.script = [{"status": status, "body": body, "type": kind}]
            answer = await self.ask(STREAM)
            self.assertEqual((answer.status, answer.body, answer.header("content-type")), (status, body, kind))
        self.assertEqual(self.stranded(), [])

    async def test_refused(self):
        await self.d.stop()
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.code), (502, "decode_unreachable"))
        self.assertEqual((await self.router.log(1))[0]["stranded"], 1)
        self.assertEqual((await self.router.idle())["stranded_total"], 1)

    async def test_breaks_off_before_the_first_byte(self):
        for reset in ("request", "headers"):
            self.d.script = [{"reset": reset}]
            answer = await self.ask(STREAM)
            self.assertEqual((answer.status, answer.code), (502, "decode_lost"), reset)

    async def test_dies_within_the_stream(self):
        self.d.script = [{"reset": 2}]
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.whole), (200, False))
        events = answer.events()
        self.assertEqual(len(events), 3)
        self.assertTrue(events[-1].startswith("event: error\ndata: "))
        self.assertEqual(json.loads(events[-1].split("data: ")[1])["error"]["code"], "decode_died")
        self.assertNotIn(b"[DONE]", answer.body)
        line = (await self.router.log(1))[0]
        self.assertEqual((line["decode_failure"], line["stranded"]), ("died", 0))
        self.assertEqual((await self.router.idle())["decode_died_total"], 1)

    async def test_dies_within_a_body(self):
        self.d.script = [{"reset": "body"}]
        answer = await self.ask({"prompt": "a"})
        self.assertEqual((answer.status, answer.whole, answer.body), (200, False, b'{"a"'))

    async def test_dies_within_an_event(self):
        self.d.script = [{"torn": b'data: {"choi'}]
        answer = await self.ask(STREAM)
        self.assertEqual(answer.events()[0], 'data: {"choi')
        self.assertTrue(answer.events()[1].startswith("event: error\n"))


class DecodePair(RouterTest):
    decodes = 2

    async def test_another_one_without_another_prefill(self):
        await self.D[0].stop()
        for i in range(4):
            self.assertEqual((await self.ask(STREAM)).status, 200)
        self.assertEqual(len(self.p.requests), 4)
        self.assertEqual(len(self.D[1].requests), 4)
        self.assertEqual(self.stranded(), [])

    async def test_not_when_it_had_the_request(self):
        for engine in self.D:
            engine.script = [{"reset": "request"}]
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.code), (502, "decode_lost"))
        self.assertEqual(sum(len(engine.requests) for engine in self.D), 1)


class Timeouts(RouterTest):
    arguments = ("--prefill-timeout", "0.5", "--first-byte-timeout", "0.5", "--idle-timeout", "0.5")

    async def test_prefill(self):
        self.p.script = [{"delay": 60}]
        answer = await self.ask()
        self.assertEqual((answer.status, answer.code), (504, "prefill_timeout"))
        await until(lambda: self.p.active == 0, "prefill ended")
        self.assertEqual(self.stranded(), [])

    async def test_first_byte(self):
        self.d.script = [{"delay": 60, "admit": 0}]
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.code), (504, "decode_timeout"))
        await until(lambda: self.d.active == 0, "decode ended")

    async def test_idle(self):
        self.d.script = [{"hold": asyncio.Event()}]
        answer = await self.ask(STREAM)
        self.assertEqual((answer.status, answer.whole), (200, False))
        self.assertIn("decode_timeout", answer.events()[-1])
        self.assertEqual(len(answer.events()), 2)
        await until(lambda: self.d.active == 0, "decode ended")


class Total(RouterTest):
    arguments = ("--total-timeout", "1")

    async def test_a_stream_that_goes_on(self):
        self.d.script = [{"chunks": 100000, "gap": 0.02}]
        answer = await self.ask(STREAM)
        self.assertFalse(answer.whole)
        self.assertIn("decode_timeout", answer.events()[-1])
        await until(lambda: self.d.active == 0, "decode ended")

    async def test_prefill_that_goes_on(self):
        self.p.script = [{"delay": 60}]
        self.assertEqual((await self.ask(STREAM)).status, 504)


if __name__ == "__main__":
    main()
