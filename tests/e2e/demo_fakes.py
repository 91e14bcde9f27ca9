# SPDX-License-Identifier: Apache-2.0
"""`segue demo` over fake engines: what it reports, its exit statuses, and that nothing stays behind.

usage: SEGUE=build/segue TESTS=tests TINY_MODEL=build/engine/tiny.gguf demo_fakes.py FAKE_DEMO_PROGRAM
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = os.environ["TESTS"]
PROGRAM = sys.argv.pop(1)
ONE = ["--prompt", "one two three", "--max-tokens", "12"]


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
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.model = os.environ["TINY_MODEL"]
        self.temporary = os.path.join(self.folder.name, "tmp")
        os.mkdir(self.temporary)

    def start(self, *arguments, wrong="", **keywords):
        environment = dict(os.environ, FAKE_ENGINE=wrong, TMPDIR=self.temporary, PYTHON=sys.executable, http_proxy="http://127.0.0.1:1",
                           FAKE_ENGINE_PY=os.path.join(TESTS, "fake/demo_engine.py"))
        if os.environ.get("ROUTER_PRELOAD"):  # nginx is not sanitized, its module is
            environment["LD_PRELOAD"] = os.environ["ROUTER_PRELOAD"]
            environment["ASAN_OPTIONS"] = "detect_odr_violation=0"
        return subprocess.Popen([PROGRAM, "demo", "--model", self.model, *arguments], env=environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)

    def nothing_left(self):
        deadline = time.monotonic() + 10
        while processes_with(self.temporary) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(processes_with(self.temporary), [])
        self.assertEqual(os.listdir(self.temporary), [])

    def run_demo(self, *arguments, status=0, wrong=""):
        process = self.start(*arguments, wrong=wrong)
        out, err = process.communicate(timeout=100)
        self.assertEqual(process.returncode, status, out + err)
        self.nothing_left()
        return out, err

    def run_json(self, *arguments, status=0, wrong=""):
        out, _ = self.run_demo(*arguments, "--json", status=status, wrong=wrong)
        return json.loads(out)

    def test_the_object(self):
        root = self.run_json(*ONE)
        self.assertEqual({"parity", "fake", "runs"}, set(root))
        self.assertIs(root["parity"], True)
        self.assertIs(root["fake"], False)
        run, = root["runs"]
        self.assertEqual({"name", "topology", "requests", "paths"}, set(run))
        request, = run["requests"]
        self.assertEqual((request["prefill"], request["decode"]), ("prefill-1", "decode-1"))
        self.assertEqual(request["verdict"], "valid")
        self.assertEqual(request["prompt_tokens"], 3)
        self.assertEqual(len(request["tokens"]), 12)
        self.assertEqual(request["tokens"], request["reference_tokens"])
        self.assertEqual(request["gap"], [0.5] * 12)
        self.assertTrue(request["text"].startswith(" w"))
        self.assertEqual(request["bytes"]["expected"], 3 * 4 * 4 * 2 * 16 * 2)
        self.assertEqual(request["bytes"]["expected"], request["bytes"]["moved"] // 2)
        self.assertEqual(set(request["ms"]), {"prefill", "ticket", "claim_wait", "copy", "commit", "first_token"})
        self.assertGreaterEqual(request["ms"]["first_token"], 9.0)
        self.assertGreater(request["copy_gbps"], 0)
        self.assertEqual(run["paths"], [{"chosen": "shm/packed",
                                         "refused": [{"path": "shm/mapped", "why": "a fake cannot be mapped"}]}])

    def test_every_engine_serves(self):
        for topology, prefill, decode in (("2p1d", 2, 1), ("1p2d", 1, 2), ("2p2d", 2, 2)):
            run, = self.run_json(*ONE, "--topology", topology)["runs"]
            self.assertEqual(run["topology"], topology)
            self.assertEqual(len(run["requests"]), max(prefill, decode))
            self.assertEqual(len({r["prefill"] for r in run["requests"]}), prefill)
            self.assertEqual(len({r["decode"] for r in run["requests"]}), decode)

    def test_the_report(self):
        out, err = self.run_demo(*ONE)
        for words in ("custom", "block 128, nhd", "sim:cuda", "valid: prefill-1 -> decode-1 over shm/packed",
                      "all 12 tokens are those of one engine alone", "but geometry predicts", "a fake cannot be mapped",
                      "Parity in the run"):
            self.assertIn(words, out)
        self.assertIn("segue demo: custom: starting 3 engines and the router", err)

    def test_fake_drivers_are_named(self):
        self.assertIs(self.run_json(*ONE, "--fake-drivers", self.temporary)["fake"], True)
        self.assertIn("FAKE", self.run_demo(*ONE, "--fake-drivers", self.temporary)[0])

    def test_no_parity(self):
        for wrong, words in (("decode:token", "token 6 differs"), ("decode:digest", "the digests differ"),
                             ("decode:corrupt", "block 3 differs")):
            self.assertIs(self.run_json(*ONE, wrong=wrong, status=1)["parity"], False)
            out, _ = self.run_demo(*ONE, wrong=wrong, status=1)
            self.assertIn("NO PARITY in 1 of 1 run", out)
            self.assertIn(words, out)
        self.assertEqual(self.run_json(*ONE, wrong="decode:corrupt", status=1)["runs"][0]["requests"][0]["verdict"],
                         "corrupt")

    def test_a_tie_may_go_either_way(self):
        request = self.run_json(*ONE, wrong="decode:tie")["runs"][0]["requests"][0]
        self.assertNotEqual(request["tokens"], request["reference_tokens"])

    def test_engines_that_do_not_start(self):
        _, err = self.run_demo(*ONE, wrong="prefill:end", status=3)
        self.assertIn("prefill-1 ended before it was ready", err)
        self.assertIn("a part is missing here", err)

    def test_engines_that_die(self):
        for role, name in (("prefill", "prefill-1"), ("decode", "decode-1"), ("both", "reference")):
            out, err = self.run_demo(*ONE, wrong=f"{role}:die", status=1)
            self.assertIn(f"{name} ended in the middle of the run", err)
            self.assertEqual(out, "")

    def test_engines_without_reports(self):
        self.assertIn("does not tell about its hand-offs", self.run_demo(*ONE, wrong="decode:mute", status=1)[1])

    def interrupt(self, number, wrong):
        process = self.start(*ONE, wrong=wrong)
        time.sleep(2)
        process.send_signal(number)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, -number)

    def test_signals_end_everything(self):
        for number, wrong in ((signal.SIGINT, "prefill:silent"), (signal.SIGTERM, "decode:hang")):
            self.interrupt(number, wrong)
            self.nothing_left()

    def test_a_killed_demo_leaves_no_process(self):
        self.interrupt(signal.SIGKILL, "decode:hang")
        deadline = time.monotonic() + 10
        while processes_with(self.temporary) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(processes_with(self.temporary), [])

    def test_kept_logs(self):
        process = self.start(*ONE, "--keep")
        _, err = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, err)
        kept, = os.listdir(self.temporary)
        self.assertIn(kept, err)
        self.assertLessEqual({"prefill-1.log", "decode-1.log", "reference.log", "router.log"},
                             set(os.listdir(os.path.join(self.temporary, kept))))

    def test_usage(self):
        for arguments, words in ((["--decode", "tp=3"], "the model has 8 query and 4 KV heads: TP 3"),
                                 (["--topology", "3d"], "a topology is written 2p1d")):
            self.assertIn(words, self.run_demo(*arguments, status=2)[1])
        self.model += ".gone"
        self.assertIn("is not there", self.run_demo(*ONE, status=3)[1])


if not shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"):
    print("skipped: nginx is missing")
    sys.exit(77)
unittest.main()
