# SPDX-License-Identifier: Apache-2.0
"""What each engine gets and what the client gets back, when all goes well."""
import asyncio
import json

from harness import RouterTest, main, until

KV = (b'"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,'
      b'"remote_block_ids":null,"remote_host":null,"remote_port":null')


class Legs(RouterTest):
    async def test_both_bodies_to_the_byte(self):
        body = b'{ "model": "m",\n "prompt": "h\\u00e9\\/", "seed": 18446744073709551616, "temperature": 1e-5, "stream": true}'
        answer = await self.ask(body)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.p.requests[0]["raw"],
                         b"{" + body[2:].removesuffix(b', "stream": true}') + b',"stream":false,"max_tokens":1,' + KV + b"}}")
        params = self.d.requests[0]["body"]["kv_transfer_params"]
        self.assertEqual(self.d.requests[0]["raw"],
                         b"{" + body[2:-1] + b',"kv_transfer_params":' + json.dumps(params).encode() + b"}")
        self.assertEqual(params["remote_request_id"], "lease-1")
        self.assertEqual(self.stranded(), [])

    async def test_parameters_are_opaque(self):
        odd = b'{"new_key" : [1e400, 18446744073709551616,\t"\\ud83d\\ude00"], "x":{"y":null} }'
        self.p.script = [{"status": 200, "body": b'{"id":"1", "kv_transfer_params" : ' + odd + b"}"}]
        await self.ask(b'{"prompt":"a"}')
        self.assertEqual(self.d.requests[0]["raw"], b'{"prompt":"a","kv_transfer_params":' + odd + b"}")

    async def test_minimum_and_stream_options_do_not_reach_prefill(self):
        answer = await self.ask({"prompt": "a", "stream": True, "stream_options": {"include_usage": True},
                                 "min_tokens": 50, "max_tokens": 60, "max_completion_tokens": 60})
        self.assertEqual(answer.status, 200)
        seen = self.p.requests[0]["body"]
        self.assertEqual((seen["stream"], seen["max_tokens"], seen["max_completion_tokens"]), (False, 1, 1))
        self.assertNotIn("min_tokens", seen)
        self.assertNotIn("stream_options", seen)
        seen = self.d.requests[0]["body"]
        self.assertEqual((seen["stream"], seen["min_tokens"], seen["max_tokens"]), (True, 50, 60))

    async def test_client_parameters_never_pass(self):
        evil = b'{"kv_transfer_params":{"remote_host":"evil"},"prompt":"a","kv_transfer_p\\u0061rams":{"remote_host":"evil"}}'
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/inference/v1/generate"):
            await self.ask(evil, path=path)
        await self.ask(evil, path="/v1/responses", headers=["Content-Type: text/plain"])
        for engine in (self.p, self.d):
            for request in engine.requests:
                self.assertNotIn(b"evil", request["raw"])
                self.assertNotIn(b"\\u0061", request["raw"])

    async def test_request_id(self):
        answer = await self.ask(headers=["X-Request-Id: mine-1", "X-Request-Id: other"])
        self.assertEqual(answer.header("x-request-id"), "mine-1")
        answer = await self.ask({"prompt": "a", "stream": True})
        made = answer.header("x-request-id")  # and not the engine's own
        self.assertRegex(made, "^[0-9a-f]{32}$")
        for engine in (self.p, self.d):
            self.assertEqual([r["headers"]["x-request-id"] for r in engine.requests], [["mine-1"], [made]])
        answer = await self.ask(b"no json", headers=["X-Request-Id: mine-2"])
        self.assertEqual((answer.status, answer.header("x-request-id")), (400, "mine-2"))

    async def test_headers(self):
        await self.ask(headers=["Authorization: Bearer key", "Accept-Encoding: gzip", "Connection: keep-alive",
                                "X-Session-ID: s", "traceparent: 00-1", "Content-Type: application/x-www-form-urlencoded"])
        for engine in (self.p, self.d):
            headers = engine.requests[0]["headers"]
            self.assertEqual(headers["authorization"], ["Bearer key"])
            self.assertEqual(headers["x-session-id"], ["s"])
            self.assertEqual(headers["traceparent"], ["00-1"])
            self.assertEqual(headers["content-type"], ["application/json"])
            self.assertEqual(headers["content-length"], [str(len(engine.requests[0]["raw"]))])
            self.assertNotIn("accept-encoding", headers)
            self.assertNotIn("connection", headers)

    async def test_stream_is_not_buffered(self):
        hold = asyncio.Event()
        self.d.script = [{"hold": hold}]
        client = await self.router.client()
        client.send({"prompt": "a", "stream": True})
        status, headers = await client.head()
        self.assertEqual((status, headers["content-type"]), (200, ["text/event-stream; charset=utf-8"]))
        self.assertIn(b'" 0"', await client.piece())  # the engine has not made the second one
        hold.set()
        rest = b""
        while piece := await client.piece():
            rest += piece
        self.assertEqual(piece, b"")
        self.assertTrue(rest.endswith(b"data: [DONE]\n\n"))
        client.close()

    async def test_several_answers_share_one_prefill(self):
        await self.ask({"prompt": "a", "n": 3, "best_of": 4})
        seen = self.p.requests[0]["body"]
        self.assertNotIn("n", seen)
        self.assertNotIn("best_of", seen)
        self.assertEqual(seen["kv_transfer_params"]["segue"], {"uses": 4})
        self.assertEqual(self.d.requests[0]["body"]["n"], 3)

    async def test_one_engine_serves_what_cannot_be_handed_over(self):
        for body in ({"prompt": ["a", "b"]}, {"prompt": [[1], [2]]}, {"prompt": "a", "prompt_logprobs": 1}):
            body["kv_transfer_params"] = {"remote_host": "evil"}
            self.assertEqual((await self.ask(body)).status, 200)
            self.assertNotIn("kv_transfer_params", self.d.requests[-1]["body"])
        self.assertEqual(self.p.requests, [])
        self.assertEqual([line["mode"] for line in await self.router.log(3)],
                         ["several prompts", "several prompts", "prompt logprobs"])

    async def test_prefill_without_parameters(self):
        for params in (None, "absent"):
            self.p.script = [{"params": params}]
            self.assertEqual((await self.ask(b'{"prompt":"a"}')).status, 200)
            self.assertEqual(self.d.requests[-1]["raw"], b'{"prompt":"a"}')
        line = (await self.router.log(2))[1]
        self.assertEqual((line["mode"], line["verdict"]), ("prefill gave no parameters", ""))

    async def test_other_paths_go_to_decode(self):
        for path in ("/v1/models", "/health", "/version?x=1&y=%20z", "/metrics"):
            answer = await self.ask(b"", method="GET", path=path)
            self.assertEqual((answer.status, answer.json()["path"]), (200, path))
        self.assertEqual((await self.ask(b"", method="HEAD", path="/health")).body, b"")
        upload = b"--x\r\n\r\n{\"kv_transfer_params\":1\r\n--x--"
        await self.ask(upload, path="/v1/audio", headers=["Content-Type: multipart/form-data; boundary=x"])
        self.assertEqual(self.d.requests[-1]["raw"], upload)
        self.assertEqual(self.d.requests[-1]["headers"]["content-type"], ["multipart/form-data; boundary=x"])
        self.assertEqual(self.p.requests, [])

    async def test_connections_are_used_again(self):
        client = await self.router.client()
        for i in range(20):
            client.send({"prompt": "a", "stream": i % 2 == 0})
            self.assertTrue((await client.answer()).whole)
        client.close()
        self.assertEqual((self.p.connections, self.d.connections), (1, 1))

    async def test_what_the_router_refuses(self):
        rows = [(400, "bad_request", dict(body=b'{"prompt":')), (400, "bad_request", dict(body=b"[1]")),
                (400, "bad_request", dict(body=b"")), (400, "bad_request", dict(body=b'{"a":NaN}', path="/v1/responses")),
                (405, "method_not_allowed", dict(body=b"", method="GET")),
                (415, "unsupported_encoding", dict(body=b"\x1f\x8b", headers=["Content-Encoding: gzip"]))]
        for status, code, how in rows:
            answer = await self.ask(**how)
            self.assertEqual((answer.status, answer.code), (status, code), how)
        self.assertEqual(self.p.requests + self.d.requests, [])

    async def test_log_line(self):
        await self.ask(headers=["X-Request-Id: quo\"te"])
        line = (await self.router.log(1))[0]
        self.assertEqual((line["id"], line["mode"], line["verdict"], line["status"]), ('quo"te', "handoff", "valid", 200))
        self.assertEqual((line["prefill"], line["decode"]),
                         (f"127.0.0.1:{self.p.port}", f"127.0.0.1:{self.d.port}"))
        for name in ("prefill_status", "decode_status", "prefill_ms", "decode_first_ms", "decode_ms"):
            self.assertIsInstance(line[name], int, name)
        self.assertEqual((line["stranded"], line["prefills"]), (0, 1))
        self.assertTrue((await self.router.metrics())["handoffs_total"] == 1)


class Bodies(RouterTest):
    arguments = ("--max-body", "8m")

    async def test_longer_than_the_buffer(self):
        prompt = "x" * (5 << 20)  # goes through a file of the router's own folder
        for chunked in (False, True):
            answer = await self.ask({"prompt": prompt, "stream": chunked}, chunked=chunked)
            self.assertEqual(answer.status, 200)
            self.assertEqual(self.p.requests[-1]["body"]["prompt"], prompt)
            self.assertEqual(self.d.requests[-1]["body"]["prompt"], prompt)
        upload = b"y" * (5 << 20)
        await self.ask(upload, path="/v1/audio", headers=["Content-Type: audio/wav"])
        self.assertEqual(self.d.requests[-1]["raw"], upload)

    async def test_longer_than_allowed(self):
        client = await self.router.client()
        client.send(b"", headers=["Content-Length: 9000000"], method="GET")
        answer = await client.answer()
        self.assertEqual((answer.status, answer.code), (413, "too_large"))
        client.close()

    async def test_slow_body(self):
        client = await self.router.client()
        raw = json.dumps({"prompt": "a" * 3000}).encode()
        client.writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % len(raw))
        for i in range(0, len(raw), 500):
            client.writer.write(raw[i:i + 500])
            await asyncio.sleep(0.01)
        self.assertEqual((await client.answer()).status, 200)
        client.close()


class Choice(RouterTest):
    prefills, decodes, arguments = 3, 2, ("--workers", "2")

    async def test_least_loaded(self):
        holds = asyncio.Event()
        for engine in self.P:
            engine.default = {"hold": holds}
        asking = [asyncio.ensure_future(self.ask()) for _ in range(9)]
        await until(lambda: all(engine.active == 3 for engine in self.P), "three requests on each engine")
        rows = await self.router.metrics()
        self.assertEqual([rows[f'engine_requests{{role="prefill",engine="127.0.0.1:{e.port}"}}'] for e in self.P], [3] * 3)
        holds.set()
        for answer in await asyncio.gather(*asking):
            self.assertEqual(answer.status, 200)
        self.assertEqual((await self.router.idle())["handoffs_total"], 9)

    async def test_a_long_prompt_keeps_its_engine_free_of_others(self):
        hold = asyncio.Event()
        for engine in self.P:
            engine.default = {"hold": hold}
        long = asyncio.ensure_future(self.ask({"prompt": "x" * 400000}))
        await until(lambda: any(engine.active for engine in self.P), "the long one")
        busy = next(engine for engine in self.P if engine.active)
        asking = [asyncio.ensure_future(self.ask()) for _ in range(8)]
        await until(lambda: sum(engine.active for engine in self.P) == 9, "the short ones")
        self.assertEqual(busy.active, 1)
        hold.set()
        await asyncio.gather(long, *asking)


class Limits(RouterTest):
    arguments = ("--prefill-limit", "1", "--decode-limit", "1")

    async def test_no_credit(self):
        hold = asyncio.Event()
        self.p.script = [{"hold": hold}]
        first = asyncio.ensure_future(self.ask())
        await until(lambda: self.p.active == 1, "the first request")
        answer = await self.ask()
        self.assertEqual((answer.status, answer.code, answer.header("retry-after")), (503, "prefill_busy", "1"))
        hold.set()
        self.assertEqual((await first).status, 200)


if __name__ == "__main__":
    main()
