# SPDX-License-Identifier: Apache-2.0
"""The OpenAI API of `segue engine` as a client sees it, over the tiny model."""

import concurrent.futures
import json
import os
import socket
import subprocess
import time
import unittest

from engine_process import Engine

TEXT = "The history of the world in ten words, and what you should do about it: "


class OneEngine(unittest.TestCase):
    OPTIONS = ()

    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(*cls.OPTIONS).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.engine.wait_idle()
        cls.engine.__exit__()


class Answers(OneEngine):
    def test_what_it_says_about_itself(self):
        self.assertEqual(self.engine.ready["model"], "tiny")
        self.assertEqual(self.engine.ready["pid"], self.engine.process.pid)
        status, models = self.engine.get("/v1/models")
        self.assertEqual((status, models["data"][0]["id"]), (200, "tiny"))
        self.assertEqual(self.engine.get("/health")[0], 200)
        self.assertEqual(self.engine.get("/segue/handoffs"), (200, []))

    def test_every_member_of_a_completion(self):
        answer = self.engine.complete(TEXT, max_tokens=5, model="tiny")
        self.assertEqual(set(answer), {
            "id", "object", "created", "model", "choices", "service_tier",
            "system_fingerprint", "usage", "kv_transfer_params"})
        self.assertEqual(set(answer["choices"][0]), {
            "index", "text", "logprobs", "finish_reason", "stop_reason", "token_ids",
            "prompt_logprobs", "prompt_token_ids"})
        self.assertEqual(set(answer["usage"]), {
            "prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"})
        self.assertTrue(answer["id"].startswith("cmpl-"))
        self.assertEqual(answer["object"], "text_completion")
        choice, usage = answer["choices"][0], answer["usage"]
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(len(choice["token_ids"]), 5)
        self.assertEqual(usage["completion_tokens"], 5)
        self.assertEqual(usage["prompt_tokens"], len(choice["prompt_token_ids"]))
        self.assertIsNone(answer["kv_transfer_params"])
        _, plain = self.engine.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1})
        self.assertIsNone(plain["choices"][0]["token_ids"])
        self.assertIsNone(plain["choices"][0]["prompt_token_ids"])

    def test_prompts_of_every_kind_are_one(self):
        answer = self.engine.complete(TEXT, max_tokens=8)["choices"][0]
        ids = answer["prompt_token_ids"]
        for prompt in (ids, [ids], [TEXT]):
            self.assertEqual(self.engine.tokens(prompt, max_tokens=8), answer["token_ids"])

    def test_chat(self):
        messages = [{"role": "user", "content": "Hello"}]
        body = {"messages": messages, "max_tokens": 12, "temperature": 0,
                "return_token_ids": True}
        status, answer = self.engine.post("/v1/chat/completions", body)
        self.assertEqual(status, 200, answer)
        message = answer["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        self.assertEqual(answer["object"], "chat.completion")
        text = ("<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
                "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
        same = self.engine.complete(text, max_tokens=12)["choices"][0]
        self.assertEqual(answer["prompt_token_ids"], same["prompt_token_ids"])
        self.assertEqual(answer["choices"][0]["token_ids"], same["token_ids"])
        self.assertEqual(message["content"], same["text"])
        parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"},
                                              {"type": "text", "text": "lo"}]}]
        _, again = self.engine.post("/v1/chat/completions", {**body, "messages": parts})
        self.assertEqual(again["choices"][0]["message"], message)

    def test_streams_say_what_whole_answers_say(self):
        for path, prompt in (("/v1/completions", {"prompt": TEXT}),
                             ("/v1/chat/completions",
                              {"messages": [{"role": "user", "content": TEXT}]})):
            body = {**prompt, "max_tokens": 40, "temperature": 0, "return_token_ids": True,
                    "ignore_eos": True}
            _, whole = self.engine.post(path, body)
            events = self.engine.stream(path, {**body,
                                               "stream_options": {"include_usage": True}})
            self.assertEqual(events[-1], "[DONE]")
            self.assertEqual(events[-2]["choices"], [])
            self.assertEqual(events[-2]["usage"]["completion_tokens"], 40)
            chunks = [event["choices"][0] for event in events[:-2]]
            text = "".join(c["delta"]["content"] if "delta" in c else c["text"]
                           for c in chunks)
            choice = whole["choices"][0]
            self.assertEqual(text, choice["message"]["content"] if "message" in choice
                             else choice["text"])
            self.assertEqual(sum((c.get("token_ids", []) for c in chunks), []),
                             choice["token_ids"])
            reasons = [c["finish_reason"] for c in chunks]
            self.assertEqual(reasons[-1], "length")
            self.assertEqual(set(reasons[:-1]), {None})
            self.assertEqual(len({event["id"] for event in events[:-1]}), 1)

    def test_stop_strings_in_any_pieces(self):
        text = self.engine.complete(TEXT, max_tokens=40)["choices"][0]["text"]
        for begin in range(3, len(text) - 8, 5):
            stop = text[begin:begin + 4]
            if "\ufffd" in stop:
                continue
            end = text.index(stop)
            body = {"prompt": TEXT, "max_tokens": 40, "temperature": 0,
                    "stop": ["never there", stop]}
            _, answer = self.engine.post("/v1/completions", body)
            choice = answer["choices"][0]
            self.assertEqual(choice["text"], text[:end])
            self.assertEqual((choice["finish_reason"], choice["stop_reason"]),
                             ("stop", stop))
            chunks = self.engine.stream("/v1/completions", body)[:-1]
            self.assertEqual("".join(c["choices"][0]["text"] for c in chunks), text[:end])
            body["include_stop_str_in_output"] = True
            _, answer = self.engine.post("/v1/completions", body)
            self.assertEqual(answer["choices"][0]["text"], text[:end + 4])

    def test_stop_tokens(self):
        tokens = self.engine.tokens(TEXT, max_tokens=20)
        stop = tokens[6]
        answer = self.engine.complete(TEXT, max_tokens=20, stop_token_ids=[stop])
        choice = answer["choices"][0]
        self.assertEqual(choice["token_ids"], tokens[:tokens.index(stop) + 1])
        self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", stop))
        longer = self.engine.tokens(TEXT, max_tokens=20, min_tokens=15,
                                    stop_token_ids=[stop])
        self.assertGreaterEqual(len(longer), 15)
        self.assertNotIn(stop, longer[:15])

    def test_seeds(self):
        def sample(**fields):
            return self.engine.tokens(TEXT, max_tokens=30, temperature=1.5, **fields)
        first = sample(seed=7)
        self.assertEqual(sample(seed=7), first)
        self.assertNotEqual(sample(seed=8), first)
        self.assertNotEqual(sample(), sample())
        greedy = self.engine.tokens(TEXT, max_tokens=30)
        self.assertEqual(sample(seed=7, top_k=1), greedy)
        self.assertEqual(sample(seed=7, top_p=1e-9), greedy)

    def test_logprobs(self):
        lists = self.engine.complete(TEXT, max_tokens=6, logprobs=3)["choices"][0]["logprobs"]
        self.assertEqual([len(lists[name]) for name in sorted(lists)], [6] * 4)
        for own, top in zip(lists["token_logprobs"], lists["top_logprobs"]):
            self.assertEqual(max(top.values()), own)  # greedy
            self.assertLessEqual(own, 0)
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6,
                "temperature": 0, "logprobs": True, "top_logprobs": 2}
        _, answer = self.engine.post("/v1/chat/completions", body)
        content = answer["choices"][0]["logprobs"]["content"]
        self.assertEqual(len(content), 6)
        for entry in content:
            self.assertEqual(entry["top_logprobs"][0]["token"], entry["token"])
            self.assertEqual(bytes(entry["bytes"]).decode(errors="replace"), entry["token"])

    def test_siblings(self):
        answer = self.engine.complete(TEXT, max_tokens=10, n=3, temperature=1, seed=3)
        self.assertEqual([c["index"] for c in answer["choices"]], [0, 1, 2])
        tokens = [c["token_ids"] for c in answer["choices"]]
        self.assertEqual(len({tuple(t) for t in tokens}), 3)
        self.assertEqual(answer["usage"]["completion_tokens"], 30)
        single = self.engine.tokens(TEXT, max_tokens=10, temperature=1, seed=4)
        self.assertEqual(tokens[1], single)

    def test_request_ids(self):
        _, headers, data = self.engine.raw("POST", "/v1/completions",
                                           {"prompt": "Hi", "max_tokens": 1},
                                           {"X-Request-Id": "mine-1"})
        self.assertEqual(headers["X-Request-Id"], "mine-1")
        self.assertEqual(json.loads(data)["id"], "cmpl-mine-1")
        _, headers, _ = self.engine.raw("GET", "/health", headers={"X-Request-Id": "a b"})
        self.assertEqual(len(headers["X-Request-Id"]), 32)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:  # one id twice at once
            both = pool.map(lambda _: self.engine.raw(
                "POST", "/v1/completions", {"prompt": "Hi", "max_tokens": 20},
                {"X-Request-Id": "same"})[0], range(2))
        self.assertEqual(list(both), [200, 200])


class Sharing(OneEngine):
    OPTIONS = ("--block-size", "8", "--max-batched-tokens", "64", "--kv-blocks", "40",
               "--dtype", "fp32")

    def test_batches_and_full_caches_change_no_token(self):
        """24 requests of up to 18 blocks each: about three fit at a time."""
        bodies = [{"prompt": f"{i} " + TEXT * (1 + i % 2), "max_tokens": 20 + i,
                   "temperature": 1 if i % 2 else 0, "seed": i} for i in range(24)]
        alone = [self.engine.tokens(**body) for body in bodies]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            together = list(pool.map(lambda body: self.engine.tokens(**body), bodies))
        self.assertEqual(together, alone)
        self.engine.wait_idle()

    def test_a_cached_prefix_changes_no_token(self):
        prompt = "Once more: " + TEXT
        fresh = self.engine.complete(prompt, max_tokens=20, cache_salt="fresh")
        self.assertIsNone(fresh["usage"]["prompt_tokens_details"])
        again = self.engine.complete(prompt, max_tokens=20, cache_salt="fresh")
        self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 16)
        self.assertEqual(again["choices"], fresh["choices"])
        other = self.engine.complete(prompt, max_tokens=20, cache_salt="another")
        self.assertIsNone(other["usage"]["prompt_tokens_details"])
        self.assertEqual(other["choices"], fresh["choices"])

    def leave(self, body, after):
        """Sends a request and hangs up after that many bytes of the answer."""
        data = json.dumps(body).encode()
        client = socket.create_connection(("127.0.0.1", self.engine.port))
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                       % len(data) + data)
        while after > 0:
            after -= len(client.recv(after))
        client.close()

    def test_clients_that_leave_give_every_block_back(self):
        body = {"prompt": TEXT, "max_tokens": 150, "temperature": 0, "ignore_eos": True}
        before = self.engine.wait_idle()
        name = 'vllm:request_success_total{model_name="tiny",finished_reason="abort"}'
        for stream in (True, False):
            for after in (0, 1, 400, 3000) if stream else (0, 0):
                self.leave({**body, "stream": stream}, after)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:  # some never leave the queue
            list(pool.map(lambda i: self.leave({**body, "stream": i % 2 == 0}, 0), range(32)))
        after = self.engine.wait_idle()
        self.assertGreater(after[name] - before[name], 20)

    def half_close(self, data):
        """Sends and says that there is nothing more to come; what comes back until the end."""
        with socket.create_connection(("127.0.0.1", self.engine.port), timeout=20) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # the end comes in one segment with the bytes
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := s.recv(65536):
                answer += piece
            return answer

    def test_half_a_request_is_not_waited_for(self):
        """The other half can't come: well before the 75 s that an idle connection may live."""
        whole = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{"prompt": "a"'
        for length in (0, 1, 20, 60, len(whole)):
            with self.subTest(length=length):
                began = time.monotonic()
                self.assertNotIn(b" 200 ", self.half_close(whole[:length]))
                self.assertLess(time.monotonic() - began, 15)
        # A whole one is answered, although its client sends nothing more.
        self.assertIn(b" 200 ", self.half_close(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))

    def test_a_client_that_leaves_a_waiting_request(self):
        """Its connection is suspended: only the socket tells."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            busy = [pool.submit(self.engine.tokens, TEXT, max_tokens=200, ignore_eos=True)
                    for _ in range(4)]
            for _ in range(8):
                self.leave({"prompt": TEXT, "max_tokens": 100, "temperature": 0}, 0)
            for answer in busy:
                self.assertEqual(len(answer.result()), 200)
        self.engine.wait_idle()


class BadInput(OneEngine):
    OPTIONS = ("--max-model-len", "64", "--max-body", "4KiB")

    def refused(self, body, status, param=None, words="", path="/v1/completions"):
        got, _, data = self.engine.raw("POST", path, body)
        error = json.loads(data)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual((got, error["param"]), (status, param), error)
        self.assertIn(words, error["message"])
        return error

    def test_bodies(self):
        self.refused("", 400, words="not JSON")
        self.refused('{"prompt": "x",}', 400, words="at byte 16")
        self.refused("[1]", 400, words="must be a JSON object")
        self.refused(b'{"prompt": "\xff"}', 400, words="not JSON")
        self.refused("[" * 4000, 400, words="not JSON")
        self.refused('{"prompt": "x"} {}', 400, words="not JSON")
        self.refused(json.dumps({"prompt": "x" * 5000}), 413, words="4096 bytes")

    def test_chunked_bodies_have_the_same_limit(self):
        connection = self.engine.open()
        connection.request("POST", "/v1/completions", iter([b"x" * 3000] * 3),
                           encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()

    def test_fields(self):
        good = {"prompt": "Hi", "max_tokens": 2}
        rows = [
            ("prompt", None), ("prompt", ""), ("prompt", []), ("prompt", 5), ("prompt", {}),
            ("prompt", [1.5]), ("prompt", [1, "a"]), ("prompt", [10 ** 6]), ("prompt", [-1]),
            ("prompt", ["a", "b"]), ("prompt", [[1], [2]]), ("prompt", [True]),
            ("max_tokens", 0), ("max_tokens", -5), ("max_tokens", "5"), ("max_tokens", 1.5),
            ("max_tokens", 10 ** 15), ("min_tokens", 3), ("temperature", -1),
            ("temperature", "hot"), ("temperature", 1e300), ("top_p", 0), ("top_p", 1.1),
            ("top_k", -2), ("top_k", 1.5), ("min_p", 2), ("seed", "x"), ("n", 0), ("n", 999),
            ("stop", 5), ("stop", ["a", 5]), ("stop", ""), ("stop", ["a"] * 99),
            ("stop_token_ids", 5), ("stop_token_ids", ["a"]), ("stop_token_ids", [10 ** 6]),
            ("stream", "yes"), ("ignore_eos", 1), ("logprobs", 21), ("logprobs", -1),
            ("logprobs", True), ("stream_options", {"include_usage": True}),
            ("stream_options", 5), ("echo", True), ("suffix", "x"), ("logit_bias", {"1": 2}),
            ("presence_penalty", 1), ("repetition_penalty", 1.5), ("cache_salt", ""),
            ("response_format", {"type": "json_object"}), ("kv_transfer_params", "x"),
            ("return_token_ids", "x"), ("model", 5),
        ]
        for param, value in rows:
            with self.subTest(param=param, value=value):
                self.refused({**good, param: value}, 400, param, param)
        self.assertEqual(self.engine.post("/v1/completions", good)[0], 200)

    def test_chat_fields(self):
        path = "/v1/chat/completions"
        good = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        def message(**fields):
            return {**good, "messages": [{"role": "user", "content": "Hi", **fields}]}
        self.refused({}, 400, "messages", path=path)
        self.refused({"messages": []}, 400, "messages", path=path)
        self.refused({"messages": ["x"]}, 400, "messages[0].role", path=path)
        self.refused(message(role="a\nb"), 400, "messages[0].role", path=path)
        self.refused(message(content=5), 400, "messages[0].content", path=path)
        self.refused(message(content=[{"type": "image_url"}]), 400, "messages[0].content",
                     "no text", path=path)
        self.refused({**good, "top_logprobs": 3}, 400, "top_logprobs", path=path)
        self.refused({**good, "logprobs": 3}, 400, "logprobs", path=path)
        self.refused({**good, "tools": [{}]}, 400, "tools", path=path)

    def test_lengths(self):
        long = self.refused({"prompt": "Hello " * 200}, 400, "prompt", "context is 64")
        self.assertEqual(long["code"], "context_length_exceeded")
        self.refused({"prompt": [1] * 64}, 400, "prompt", "context is 64")
        self.refused({"prompt": [1] * 60, "max_tokens": 5}, 400, "max_tokens", "60")
        answer = self.engine.complete([1] * 60, max_tokens=4, ignore_eos=True)
        self.assertEqual(len(answer["choices"][0]["token_ids"]), 4)
        _, chat = self.engine.post("/v1/chat/completions", {
            "messages": [{"role": "system", "content": "a"}], "temperature": 0})
        self.assertLessEqual(chat["usage"]["total_tokens"], 64)

    def test_places(self):
        error = self.refused({"model": "gpt-9", "prompt": "x"}, 404, "model", "tiny")
        self.assertEqual(error["code"], "model_not_found")
        self.refused({}, 404, path="/v1/nowhere")
        self.assertEqual(self.engine.raw("GET", "/v1/completions")[0], 405)
        self.assertEqual(self.engine.raw("DELETE", "/v1/models")[0], 405)
        self.assertEqual(self.engine.raw("HEAD", "/health")[0], 200)

    def test_hand_offs(self):
        for params, words in (({"do_remote_prefill": True}, "ticket"),
                              ({"do_remote_prefill": True, "do_remote_decode": True},
                               "not both")):
            error = self.refused({"prompt": "x", "kv_transfer_params": params}, 400,
                                 "kv_transfer_params", words)
            self.assertEqual(error["code"], "kv_refused")
        self.refused({"prompt": "x", "kv_transfer_params": {"do_remote_decode": 1}}, 400,
                     "do_remote_decode", "true or false")
        self.engine.complete("Hi", kv_transfer_params={"do_remote_prefill": False})

    def test_bytes_that_are_no_request(self):
        for data in (b"\x00" * 100 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\n"
                     b"Host: x\r\nContent-Length: 50\r\n\r\n{", b"GET /" + b"a" * 100000,
                     b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):
            client = socket.create_connection(("127.0.0.1", self.engine.port))
            try:
                client.sendall(data)
            except OSError:
                pass  # the engine has hung up before the end
            client.close()
        self.assertEqual(self.engine.get("/health")[0], 200)


class Process(unittest.TestCase):
    def run_engine(self, *options):
        return subprocess.run([os.environ["SEGUE"], "engine", *options], text=True,
                              capture_output=True, timeout=60)

    def test_exit_statuses(self):
        tiny = os.environ["TINY_MODEL"]
        rows = [
            (2, "--model FILE is missing", ()),
            (2, "no option --modle", ("--modle", "x")),
            (2, "--port takes a number", ("--model", tiny, "--port", "65536")),
            (2, "--kv-memory takes a size", ("--model", tiny, "--kv-memory", "lots")),
            (2, "--layout takes", ("--model", tiny, "--layout")),
            (2, "LBHNC", ("--model", tiny, "--layout", "diagonal")),
            (1, "nowhere.gguf", ("--model", "/nowhere.gguf")),
            (1, "TP 3", ("--model", tiny, "--tp", "3")),
            (1, "does not hold one", ("--model", tiny, "--kv-memory", "1KB")),
            (1, "no IPv4 or IPv6", ("--model", tiny, "--host", "example.org")),
        ]
        for status, words, options in rows:
            with self.subTest(options=options):
                done = self.run_engine(*options)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(words, done.stderr)
        self.assertIn("--max-batched-tokens", self.run_engine("--help").stdout)

    def test_taken_ports_are_named(self):
        with Engine() as engine:
            done = self.run_engine("--model", os.environ["TINY_MODEL"], "--port",
                                   str(engine.port))
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"port {engine.port}", done.stderr)

    def test_shutdown_answers_what_is_under_way(self):
        engine = Engine("--dtype", "bf16", "--layout", "BLHNC", "--tp", "2").__enter__()
        body = {"prompt": TEXT, "max_tokens": 4000, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(engine.raw, "POST", "/v1/completions", body)
                       for _ in range(4)]
            while engine.metrics()["vllm:num_requests_running"] < 4:
                pass
            self.assertEqual(engine.stop(), 0)
            for answer in answers:
                status, _, data = answer.result()
                self.assertEqual((status, json.loads(data)["error"]["code"]),
                                 (503, "aborted"))


if __name__ == "__main__":
    unittest.main()
