# SPDX-License-Identifier: Apache-2.0
"""`segue demo` with real engines on the tiny model: geometries, topologies, exit statuses, nothing left behind.

usage: SEGUE=build/segue TINY_MODEL=build/engine/tiny.gguf demo.py
"""
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

LAYERS, KV_HEADS, HEAD_DIM, TIE = 4, 4, 16, 0.01
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8_e4m3": 1, "fp8_e5m2": 1}
CELLS = 0


def processes_with(word):
    """Ids of processes whose environment names `word`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if word.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


class Demo(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.temporary = folder.name

    def demo(self, *arguments, status=0):
        environment = dict(os.environ, TMPDIR=self.temporary)
        if os.environ.get("ROUTER_PRELOAD"):  # nginx is not sanitized, its module is
            environment["LD_PRELOAD"] = os.environ["ROUTER_PRELOAD"]
            environment["ASAN_OPTIONS"] = "detect_odr_violation=0"
        done = subprocess.run([os.environ["SEGUE"], "demo", "--json", "--max-tokens", "12", *arguments], text=True,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=200)
        self.assertEqual(done.returncode, status, " ".join(arguments) + "\n" + done.stdout + done.stderr)
        deadline = time.monotonic() + 10
        while processes_with(self.temporary) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(processes_with(self.temporary), [])
        self.assertEqual(os.listdir(self.temporary), [])
        return json.loads(done.stdout) if done.stdout else done.stderr

    def tiny(self, *arguments, **keywords):
        return self.demo("--model", os.environ["TINY_MODEL"], "--topology", "1p1d", *arguments, **keywords)

    def check_request(self, request, dtype="fp16", hashed=True):
        global CELLS
        CELLS += 1
        self.assertEqual(request["verdict"], "valid", request)
        self.assertEqual(len(request["tokens"]), 12)
        self.assertEqual(len(request["gap"]), len(request["reference_tokens"]))
        ties = [i for i, gap in enumerate(request["gap"]) if gap is not None and gap <= TIE]
        same = ties[0] if ties else len(request["reference_tokens"])
        self.assertEqual(request["tokens"][:same], request["reference_tokens"][:same])
        self.assertEqual(bool(request["kv_digest"]["producer"]), hashed)
        self.assertEqual(request["kv_digest"]["producer"], request["kv_digest"]["consumer"])
        expected = request["prompt_tokens"] * LAYERS * KV_HEADS * 2 * HEAD_DIM * BYTES[dtype]
        self.assertEqual((request["bytes"]["expected"], request["bytes"]["moved"]), (expected, expected))
        for phase, ms in request["ms"].items():
            self.assertIsNotNone(ms, phase)
        self.assertGreater(request["copy_gbps"], 0)

    def check_run(self, root, topology="1p1d", **keywords):
        self.assertIs(root["parity"], True)
        self.assertIs(root["fake"], False)
        run, = root["runs"]
        self.assertEqual(run["topology"], topology)
        prefill, decode = int(topology[0]), int(topology[2])
        self.assertEqual(len(run["requests"]), max(prefill, decode))
        self.assertEqual(len({r["prefill"] for r in run["requests"]}), prefill)
        self.assertEqual(len({r["decode"] for r in run["requests"]}), decode)
        for request in run["requests"]:
            self.check_request(request, **keywords)
            self.assertIn(request["path"], [p["chosen"] for p in run["paths"]])
        return run

    def test_geometries(self):
        for prefill, decode in (("block=16,layout=nhd,device=host", "block=16,layout=nhd,device=host"),
                                ("block=128,layout=nhd,tp=1,device=sim:gaudi", "block=16,layout=hnd,tp=4,device=sim:cuda"),
                                ("block=16,layout=hnd,tp=2,device=sim:cuda", "block=48,layout=BHLNC,tp=1,device=sim:gaudi"),
                                ("block=7,layout=LHBNC,tp=4,device=host", "block=5,layout=BLNHC,tp=2,device=sim:xpu"),
                                ("block=32,layout=BLHNC,tp=2,device=sim:gaudi", "block=64,layout=nhd,tp=4,device=host")):
            with self.subTest(prefill=prefill, decode=decode):
                run = self.check_run(self.tiny("--prefill", prefill, "--decode", decode))
                self.assertTrue(run["paths"][0]["refused"] or "sim" not in prefill + decode)

    def test_memory_the_engine_cannot_address(self):
        """Engines on sim:tpu compute in a working set: each copies the prompt's KV once, in or out."""
        for prefill, decode in (("block=32,layout=nhd,tp=2,device=sim:tpu", "block=16,layout=hnd,tp=4,device=sim:cuda"),
                                ("block=16,layout=hnd,tp=1,device=sim:cuda", "block=48,layout=nhd,tp=2,device=sim:tpu"),
                                ("block=7,layout=BHLNC,tp=1,device=sim:tpu", "block=16,layout=LHBNC,tp=1,device=sim:tpu")):
            with self.subTest(prefill=prefill, decode=decode):
                request, = self.check_run(self.tiny("--prefill", prefill, "--decode", decode))["requests"]
                copies = (prefill + decode).count("sim:tpu")
                self.assertEqual(request["bytes"]["engine"], copies * request["bytes"]["expected"])

    def test_more_ranks_than_heads(self):
        """4 KV heads over 8 ranks: each head on two of them, on either side."""
        for prefill, decode in (("tp=1", "tp=8"), ("tp=8", "tp=2"), ("tp=8", "tp=8")):
            with self.subTest(prefill=prefill, decode=decode):
                self.check_run(self.tiny("--prefill", prefill + ",block=16,device=host", "--decode",
                                         decode + ",block=24,layout=BHLNC,device=sim:cuda"))

    def test_another_type(self):
        for prefill, decode in (("fp16", "fp32"), ("bf16", "fp32"), ("fp8_e4m3", "fp16"), ("fp8_e5m2", "fp32")):
            with self.subTest(prefill=prefill, decode=decode):
                self.check_run(self.tiny("--prefill", f"dtype={prefill}", "--decode", f"dtype={decode}"), dtype=prefill,
                               hashed=False)

    def test_topologies(self):
        for topology in ("2p1d", "2p2d"):
            with self.subTest(topology=topology):
                xpu = "block=64,tp=2,device=sim:xpu,dtype=fp8"
                self.check_run(self.tiny("--topology", topology, "--prefill", xpu, "--decode", xpu), topology=topology,
                               dtype="fp8_e4m3")

    def test_a_prompt_from_a_file(self):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write("Grüße, Welt!\n" * 40)
            file.flush()
            self.check_run(self.tiny("--prompt-file", file.name))

    def test_spoilt_hand_offs(self):
        for how in ("flip", "swap", "cross", "swap in one block"):
            with self.subTest(how=how):
                short = ["--prompt", "Hello"] if "block" in how else []
                root = self.tiny("--corrupt", how.split()[0], *short, status=1)
                self.assertIs(root["parity"], False)
                for request in root["runs"][0]["requests"]:
                    self.assertIn(request["verdict"], ("corrupt", "refused"))
                    self.assertEqual(request["tokens"], [])

    def test_digests(self):
        request = self.tiny("--digest", "off")["runs"][0]["requests"][0]
        self.assertEqual(request["kv_digest"], {"producer": None, "consumer": None})
        self.check_run(self.tiny("--digest", "sample"))

    def test_statuses(self):
        self.assertIn("the model has 8 query and 4 KV heads: TP 3 is refused", self.tiny("--decode", "tp=3", status=2))
        self.assertIn("is no key", self.tiny("--decode", "blocks=3", status=2))
        self.assertIn("is not there", self.demo("--model", "/nonexistent", status=3))


if not shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"):
    print("skipped: nginx is missing")
    raise SystemExit(77)
try:
    unittest.main()
finally:
    print("cells:", CELLS)
