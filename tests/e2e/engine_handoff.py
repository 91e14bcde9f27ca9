# SPDX-License-Identifier: Apache-2.0
"""Two engines that differ in everything: one prefills, the other decodes, and a third
alone says what the tokens are."""

import concurrent.futures
import tempfile
import time
import unittest

from engine_process import Engine

TEXT = "The history of the world in ten words, and what you should do about it: " * 3
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
           "remote_block_ids": None, "remote_host": None, "remote_port": None}


class HandOff(unittest.TestCase):
    DEVICES = "sim:gaudi", "sim:cuda"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        shared = ("--ipc-dir", cls.folder.name, "--kv-blocks")
        cls.engines = [
            Engine("--role", "prefill", "--device", cls.DEVICES[0], "--block-size", "32",
                   "--layout", "nhd", "--engine-id", "p", *shared, "40"),
            Engine("--role", "decode", "--device", cls.DEVICES[1], "--block-size", "4",
                   "--layout", "hnd", "--tp", "2", "--engine-id", "d", "--digest", "full",
                   *shared, "400"),
            Engine(),
        ]
        cls.prefill, cls.decode, cls.alone = [e.__enter__() for e in cls.engines]

    @classmethod
    def tearDownClass(cls):
        for engine in (cls.prefill, cls.decode):
            engine.wait_idle()
        for engine in cls.engines:
            engine.__exit__()
        cls.folder.cleanup()

    def ticket(self, prompt, **segue):
        params = {**PREFILL, "segue": segue} if segue else PREFILL
        answer = self.prefill.complete(prompt, max_tokens=1, kv_transfer_params=params)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertTrue(answer["kv_transfer_params"]["do_remote_prefill"])
        return answer["kv_transfer_params"]

    def test_the_tokens_of_one_engine(self):
        for i in range(4):
            prompt = f"{i} {TEXT}"
            got = self.decode.tokens(prompt, max_tokens=40, ignore_eos=True,
                                     kv_transfer_params=self.ticket(prompt))
            self.assertEqual(got, self.alone.tokens(prompt, max_tokens=40, ignore_eos=True))
        _, reports = self.decode.get("/segue/handoffs")
        self.assertEqual(reports[-1]["verdict"], "valid")
        self.assertEqual(reports[-1]["kv_digest"]["producer"],
                         reports[-1]["kv_digest"]["consumer"])
        self.assertEqual(reports[-1]["bytes"]["moved"], reports[-1]["bytes"]["expected"])

    def test_many_at_once_streamed_and_chatted(self):
        def one(i):
            body = {"messages": [{"role": "user", "content": f"{i}? {TEXT}"}],
                    "temperature": 0, "max_tokens": 30, "return_token_ids": True}
            _, first = self.prefill.post("/v1/chat/completions", {
                **body, "max_tokens": 1, "kv_transfer_params": PREFILL})
            events = self.decode.stream("/v1/chat/completions", {
                **body, "kv_transfer_params": first["kv_transfer_params"]})
            self.assertEqual(events[-1], "[DONE]")
            tokens = sum((e["choices"][0].get("token_ids", []) for e in events[:-1]), [])
            _, want = self.alone.post("/v1/chat/completions", body)
            self.assertEqual(tokens, want["choices"][0]["token_ids"])
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(24)))

    def test_siblings_share_one_use(self):
        for uses in ({}, {"uses": 3}):  # as a router that does not ask, and one that does
            self.prefill.wait_idle()
            began = time.monotonic()
            prompt = f"siblings {uses} {TEXT}"
            ticket = self.ticket(prompt, **uses)
            self.assertEqual(ticket["segue"]["uses"], uses.get("uses", 1))
            answer = self.decode.complete(prompt, max_tokens=5, n=3,
                                          kv_transfer_params=ticket)
            want = self.alone.tokens(prompt, max_tokens=5)
            self.assertEqual([c["token_ids"] for c in answer["choices"]], [want] * 3)
            self.prefill.wait_idle()
            self.assertLess(time.monotonic() - began, 15)  # the lease alone is 20 s

    def test_uses_out_of_range_are_refused(self):
        for uses in (0, -1, 10 ** 9, "two"):
            status, _ = self.prefill.post("/v1/completions", {
                "prompt": TEXT, "max_tokens": 1,
                "kv_transfer_params": {**PREFILL, "segue": {"uses": uses}}})
            self.assertEqual(status, 400)

    def test_two_uses_are_good_for_two_engines(self):
        """R9: the same ticket decodes on two engines, and is no good for a third request."""
        prompt = "twice " + TEXT
        ticket = self.ticket(prompt, uses=2)
        want = self.alone.tokens(prompt, max_tokens=4)
        with Engine("--role", "decode", "--engine-id", "d2", "--ipc-dir",
                    self.folder.name) as other:
            for engine in (self.decode, other):
                self.assertEqual(
                    engine.tokens(prompt, max_tokens=4, kv_transfer_params=ticket), want)
            self.prefill.wait_idle()
            with Engine("--role", "decode", "--engine-id", "d3", "--ipc-dir",
                        self.folder.name) as third:
                status, answer = third.post("/v1/completions", {
                    "prompt": prompt, "kv_transfer_params": ticket})
            self.assertEqual((status, answer["error"]["code"]), (503, "kv_stale"))

    def test_another_prompt_is_refused(self):
        params = self.ticket("mine " + TEXT)
        status, answer = self.decode.post("/v1/completions", {
            "prompt": "his  " + TEXT, "kv_transfer_params": params})
        self.assertEqual((status, answer["error"]["code"]), (400, "kv_refused"))
        prompt = "mine " + TEXT  # and whose it is still gets it
        self.assertEqual(
            self.decode.tokens(prompt, max_tokens=3, kv_transfer_params=params),
            self.alone.tokens(prompt, max_tokens=3))

    def test_a_ticket_is_good_once(self):
        prompt = "once " + TEXT
        params = self.ticket(prompt)
        body = {"prompt": prompt, "max_tokens": 2, "kv_transfer_params": params}
        self.assertEqual(self.decode.post("/v1/completions", body)[0], 200)
        salted = {**body, "prompt": prompt}
        status, answer = self.decode.post("/v1/completions", salted)
        # From its own prefix cache, or not at all: never from blocks that are gone.
        self.assertIn((status, answer.get("error", {}).get("code")),
                      ((200, None), (503, "kv_stale")))

    def test_a_refused_request_frees_the_producer(self):
        before = self.prefill.wait_idle()
        began = time.monotonic()
        for fields in ({"max_tokens": 10 ** 6}, {"temperature": -1}, {"model": "other"}):
            prompt = f"{fields} {TEXT}"
            status, _ = self.decode.post("/v1/completions", {
                "prompt": prompt, **fields, "kv_transfer_params": self.ticket(prompt)})
            self.assertIn(status, (400, 404))
        after = self.prefill.wait_idle()
        name = "segue_engine_offers_total"
        self.assertEqual(after[name] - before[name], 3)
        self.assertLess(time.monotonic() - began, 15)  # the lease alone is 20 s


class InWorkingSets(HandOff):
    """Neither engine can address its device's memory; blocks are written again and again."""
    DEVICES = "sim:tpu", "sim:tpu"


if __name__ == "__main__":
    unittest.main()
