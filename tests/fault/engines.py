# SPDX-License-Identifier: Apache-2.0
"""Engines that die between the two legs of a request, clients that leave at any moment, caches that are full: the client
is told what happened or gets the right tokens, and every block comes back."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["TESTS"], "e2e"))
from engine_process import Engine  # noqa: E402

TEXT = "The history of the world in ten words, and what you should do about it: " * 3
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
           "remote_block_ids": None, "remote_host": None, "remote_port": None}


def kill(engine):
    engine.process.kill()
    engine.process.wait()


class Fault(unittest.TestCase):
    def setUp(self):
        self.ends = contextlib.ExitStack()
        self.addCleanup(self.ends.close)
        self.folder = self.ends.enter_context(tempfile.TemporaryDirectory())

    def engine(self, role, *options):
        engine = Engine("--role", role, "--ipc-dir", self.folder, *options).__enter__()
        self.ends.callback(self.ended, engine)
        return engine

    def ended(self, engine):
        self.assertIn(engine.stop(), (0, -signal.SIGKILL))  # ours: all else is its own

    def prefill_engine(self, *options):
        return self.engine("prefill", "--block-size", "32", "--kv-blocks", "40", *options)

    def decode_engine(self, *options):
        return self.engine("decode", "--block-size", "8", "--layout", "hnd", "--kv-blocks", "200",
                           "--digest", "full", *options)

    def alone(self):
        engine = Engine().__enter__()
        self.ends.callback(self.ended, engine)
        return engine

    def ticket(self, engine, prompt):
        answer = engine.complete(prompt, max_tokens=1, kv_transfer_params=PREFILL)
        return answer["kv_transfer_params"]

    def decode(self, engine, prompt, params, **fields):
        return engine.post("/v1/completions", {
            "prompt": prompt, "max_tokens": 8, "temperature": 0, "return_token_ids": True,
            "kv_transfer_params": params, **fields})


class Deaths(Fault):
    def test_a_prefill_engine_dies_before_its_ticket_is_used(self):
        for path in ("shm/mapped", "cma/direct", "tcp/direct", "shm/packed", "tcp/packed"):
            with self.subTest(path=path):
                p, second = self.prefill_engine(), self.prefill_engine()
                d = self.decode_engine("--require", path)
                prompt = f"{path} {TEXT}"
                params = self.ticket(p, prompt)
                kill(p)
                began = time.monotonic()
                status, answer = self.decode(d, prompt, params)
                self.assertEqual((status, answer["error"]["code"]), (503, "kv_lost"), answer)
                self.assertLess(time.monotonic() - began, 10)
                d.wait_idle()
                status, answer = self.decode(d, prompt, self.ticket(second, prompt))
                self.assertEqual(status, 200, answer)
                d.wait_idle()
                second.wait_idle()

    def test_a_prefill_engine_starts_anew(self):
        """A ticket of the earlier start leads nowhere, though an engine of that name serves again."""
        p, d = self.prefill_engine("--engine-id", "p"), self.decode_engine()
        self.assertEqual(self.decode(d, TEXT, self.ticket(p, TEXT))[0], 200)
        params = self.ticket(p, "again " + TEXT)
        kill(p)
        p = self.prefill_engine("--engine-id", "p")
        status, answer = self.decode(d, "again " + TEXT, params)
        self.assertEqual(status, 503)
        self.assertIn(answer["error"]["code"], ("kv_lost", "kv_stale"))
        self.assertEqual(self.decode(d, "new " + TEXT, self.ticket(p, "new " + TEXT))[0], 200)
        d.wait_idle()

    def test_a_decode_engine_dies(self):
        """What was offered to it comes back with the lease at the latest, and another engine serves."""
        p, d, other = self.prefill_engine(), self.decode_engine(), self.decode_engine()
        params = self.ticket(p, TEXT)
        client = socket.create_connection(("127.0.0.1", d.port))
        body = json.dumps({"prompt": TEXT, "max_tokens": 2000, "kv_transfer_params": params}).encode()
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.05)
        kill(d)
        client.close()
        mine = "mine " + TEXT
        self.assertEqual(self.decode(other, mine, self.ticket(p, mine))[0], 200)
        p.wait_idle()


class Misfits(Fault):
    def refused(self, p, d, *words):
        status, answer = self.decode(d, TEXT, self.ticket(p, TEXT))
        self.assertEqual((status, answer["error"]["code"]), (400, "kv_refused"), answer)
        for word in words:
            self.assertIn(word, answer["error"]["message"])
        p.wait_idle()
        d.wait_idle()

    def test_another_model(self):
        self.refused(self.prefill_engine("--served-model-name", "one"),
                     self.decode_engine("--served-model-name", "two"), "'one'", "'two'")

    def test_another_geometry(self):
        """A model of that name whose KV has another shape."""
        path = os.path.join(os.environ["TESTS"], "..", "scripts", "make-tiny-model")
        model = os.path.join(self.folder, "tiny.gguf")
        with open(path, encoding="utf-8") as script:
            source = script.read()
        narrow = source.replace("LAYERS, WIDTH, FFN, HEADS, KV_HEADS, CONTEXT = 4, 128, 256, 8, 4, 8192",
                                "LAYERS, WIDTH, FFN, HEADS, KV_HEADS, CONTEXT = 3, 128, 256, 8, 2, 8192")
        self.assertNotEqual(narrow, source)
        subprocess.run([sys.executable, "-", model], input=narrow, text=True, check=True)
        self.refused(self.prefill_engine(), self.decode_engine("--model", model),
                     "4 layers and 4 KV heads", "3 and 2")

    def test_a_path_that_cannot_be(self):
        """A decode engine that insists on a path its device cannot take says so and why."""
        self.refused(self.prefill_engine("--device", "sim:gaudi"),
                     self.decode_engine("--require", "shm/mapped"), "sim:gaudi", "shm/mapped")


class Crowds(Fault):
    def test_a_full_cache_queues(self):
        p = self.prefill_engine()
        d = self.engine("decode", "--block-size", "8", "--kv-blocks", "44", "--digest", "full")
        want = self.alone()
        prompts = [f"{i} {TEXT}" for i in range(6)]
        answers = [None] * len(prompts)

        def one(i):
            answers[i] = self.decode(d, prompts[i], self.ticket(p, prompts[i]), max_tokens=20)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for prompt, (status, answer) in zip(prompts, answers):
            self.assertEqual(status, 200, answer)
            self.assertEqual(answer["choices"][0]["token_ids"], want.tokens(prompt, max_tokens=20))
        p.wait_idle()
        d.wait_idle()

    def test_clients_that_leave_at_any_moment(self):
        seed = random.randrange(1 << 32)
        print("seed:", seed, flush=True)
        dice = random.Random(seed)
        p, d = self.prefill_engine(), self.decode_engine("--no-prefix-caching")
        cells = 0
        for _ in range(40):
            prompt = f"{cells} {TEXT}"
            leg = dice.choice((p, d, d, d))
            params = PREFILL if leg is p else self.ticket(p, prompt)
            body = json.dumps({"prompt": prompt, "max_tokens": 50, "stream": leg is d,
                               "kv_transfer_params": params}).encode()
            client = socket.create_connection(("127.0.0.1", leg.port))
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(dice.choice((0, 0.001, 0.005, 0.02, 0.05)) * dice.random())
            client.close()
            cells += 1
        p.wait_idle()
        d.wait_idle()
        self.assertEqual(self.decode(d, TEXT, self.ticket(p, TEXT))[0], 200)
        p.wait_idle()
        d.wait_idle()
        print("cells:", cells)


class Routed(Fault):
    def test_the_router_prefills_once_more(self):
        """The engine that prefilled is dead when decode asks: another prefills, and the tokens are right."""
        first, second = self.prefill_engine("--engine-id", "p1"), self.prefill_engine("--engine-id", "p2")
        d, want = self.decode_engine(), self.alone()
        command = [os.environ["SEGUE"], "route", "--port", "0", "--json", "--prefill-policy", "round_robin",
                   "--access-log", "off", "--prefiller-hosts", "127.0.0.1", "127.0.0.1",
                   "--prefiller-ports", str(first.port), str(second.port),
                   "--decoder-hosts", "127.0.0.1", "--decoder-ports", str(d.port)]
        if subprocess.run([*command, "--check"], capture_output=True, check=False).returncode == 3:
            self.skipTest("nginx or its module is missing")
        env = dict(os.environ)
        if env.get("ROUTER_PRELOAD"):
            env.update(LD_PRELOAD=env["ROUTER_PRELOAD"], ASAN_OPTIONS="detect_leaks=0:detect_odr_violation=0")
        router = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        try:
            client = Engine()
            client.port = json.loads(router.stdout.readline())["port"]
            tokens = want.tokens(TEXT, max_tokens=12)
            for _ in range(2):  # both prefill engines have served
                self.assertEqual(client.tokens(TEXT, max_tokens=12), tokens)
            # The decode engine answers only when it goes on: by then the prefill engine is gone.
            prompt = "lost " + TEXT
            tokens = want.tokens(prompt, max_tokens=12)
            name = "segue_engine_offers_total"
            offers = [e.wait_idle()[name] for e in (first, second)]
            os.kill(d.process.pid, signal.SIGSTOP)
            answer = []
            thread = threading.Thread(target=lambda: answer.append(client.tokens(prompt, max_tokens=12)))
            thread.start()
            dead = None
            while dead is None:
                for i, e in enumerate((first, second)):
                    if e.metrics()[name] > offers[i]:
                        dead = e
                time.sleep(0.01)
            kill(dead)
            os.kill(d.process.pid, signal.SIGCONT)
            thread.join(60)
            self.assertEqual(answer, [tokens])
            offered, survivor = (offers[1], second) if dead is first else (offers[0], first)
            d.wait_idle()
            self.assertEqual(survivor.wait_idle()[name], offered + 1)
        finally:
            router.terminate()
            router.wait()
            router.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
