# SPDX-License-Identifier: Apache-2.0
"""`segue bench relayout`: the object it prints, and what it says of a Python it cannot use.

usage: SEGUE=build/segue bench_relayout.py
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SEGUE = os.environ["SEGUE"]
PEER = pathlib.Path(__file__).resolve().parents[2] / "bench" / "peers" / "relayout.py"


def bench(*options, python="", tmp):
    return subprocess.run([SEGUE, "bench", "relayout", "--quick", "--runs", "2", *options], capture_output=True, text=True,
                          timeout=200, env={**os.environ, "TMPDIR": tmp, "SEGUE_BENCH_PYTHON": python})


class Relayout(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)

    def run_bench(self, *options, python=""):
        done = bench(*options, python=python, tmp=self.tmp.name)
        self.assertEqual(os.listdir(self.tmp.name), [], done.stderr)
        return done

    def test_object(self):
        done = self.run_bench("--json", "--case", "DeepSeek-V3/*")
        self.assertIn(done.returncode, (0, 1), done.stderr)  # two runs say nothing about a target
        self.assertIn("SEGUE_BENCH_PYTHON is not set", done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual(said["bench"], "relayout")
        self.assertEqual([row["case"] for row in said["rows"]],
                         ["DeepSeek-V3/same/nhd/16-nhd/16", "DeepSeek-V3/het/nhd/128-nhd/16"])
        for row in said["rows"]:
            self.assertEqual((row["unit"], row["n"], row["provenance"]), ("GB/s", 2, "measured"))
            self.assertTrue(0 < row["min"] <= row["median"] <= row["max"], row)
            self.assertEqual(set(row["ratio"]), {"copy", "self"})

    def test_python_that_is_none(self):
        done = self.run_bench("--json", "--case", "SmolLM2-135M/het/nhd/128-hnd/16", python="/bin/false")
        self.assertIn("the peer ended", done.stderr)
        self.assertEqual(set(json.loads(done.stdout)["rows"][0]["ratio"]), {"copy", "self"})

    def test_with_numpy(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            print("skipped: this Python has no NumPy", flush=True)
            self.skipTest("this Python has no NumPy")
        done = self.run_bench("--json", "--case", "SmolLM2-135M/het/nhd/128-hnd/16", python=sys.executable)
        self.assertIn("numpy", json.loads(done.stdout)["rows"][0]["ratio"], done.stderr)

    def test_peer_of_bad_geometry(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            print("skipped: this Python has no NumPy", flush=True)
            self.skipTest("this Python has no NumPy")
        done = subprocess.run([sys.executable, PEER, "1", "1", "2", "20", "nhd", "16", "hnd", "4"], capture_output=True,
                              text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no cache of 20 tokens in nhd blocks of 16", done.stderr)

    def test_usage(self):
        done = self.run_bench("--case", "nothing")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no case is called 'nothing'", done.stderr)


unittest.main()
