# SPDX-License-Identifier: Apache-2.0
"""`segue bench handoff` and `segue bench fault`: the object it prints, its exit statuses, and that no process or folder stays behind.

usage: SEGUE=build/segue bench_handoff.py
"""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

SEGUE = os.environ["SEGUE"]


def bench(*options, tmp, name="handoff"):
    return subprocess.run([SEGUE, "bench", name, *options], capture_output=True, text=True, timeout=200,
                          env={**os.environ, "TMPDIR": tmp})


class Handoff(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)

    def run_bench(self, *options, name="handoff"):
        done = bench(*options, tmp=self.tmp.name, name=name)
        self.assertEqual(os.listdir(self.tmp.name), [], done.stderr)
        return done

    def test_object(self):
        done = self.run_bench("--json", "--quick", "--runs", "3", "--case", "*/same/64KiB")
        said = json.loads(done.stdout)
        self.assertEqual(said["bench"], "handoff")
        self.assertEqual(set(said["host"]), {"cpu", "cores", "kernel", "memory_gb"})
        bare = {"shm": "copy", "cma": "process_vm_readv", "tcp": "socket"}
        rows = {row["case"]: row for row in said["rows"]}
        if "not measured" in done.stderr:  # a sandbox may forbid process_vm_readv; the sentence says so
            self.assertEqual(done.returncode, 3)
            self.assertIn("cma/same/64KiB", done.stderr)
            del bare["cma"]
        else:
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(set(rows), {f"{path}/same/64KiB" for path in bare})
        for path, reference in bare.items():
            row = rows[f"{path}/same/64KiB"]
            self.assertEqual((row["unit"], row["n"], row["provenance"]), ("GB/s", 3, "measured"))
            self.assertTrue(0 < row["min"] <= row["median"] <= row["max"], row)
            self.assertEqual(set(row["ratio"]), {"copy", "self", reference})
            for name, ratio in row["ratio"].items():
                self.assertTrue(0 < row["lo"][name] <= ratio <= row["hi"][name], row)

    def test_software_row(self):
        done = self.run_bench("--json", "--quick", "--runs", "3", "--case", "software/post-to-verdict")
        (row,) = json.loads(done.stdout)["rows"]
        self.assertEqual((row["case"], row["unit"], row["limit"]), ("software/post-to-verdict", "us", 1000))
        self.assertEqual(done.returncode, 0 if row["met"] else 1)

    def test_first_contact(self):
        done = self.run_bench("--json", "--quick", "--runs", "3", "--case", "software/[fm]*")
        contact, mapped = json.loads(done.stdout)["rows"]
        self.assertEqual((contact["case"], contact["unit"], contact["limit"]), ("software/first-contact", "us", 5000))
        self.assertEqual((mapped["case"], mapped["unit"]), ("software/map-in", "ms"))
        self.assertGreater(mapped["min"], 0)
        self.assertEqual(done.returncode, 0 if contact["met"] else 1)

    def test_nothing_stays_of_one_that_was_ended(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number=number):
                process = self.start_endless()
                process.send_signal(number)
                self.assertEqual(process.wait(20), -number)
                self.assertEqual(os.listdir(self.tmp.name), [])

    def test_the_next_one_sweeps_after_one_that_was_killed(self):
        process = self.start_endless()
        process.kill()
        process.wait(20)
        os.mkdir(os.path.join(self.tmp.name, "segue-bench-another"))  # seven letters: nobody made this as we do
        deadline = time.monotonic() + 20
        while len(os.listdir(self.tmp.name)) > 1 and time.monotonic() < deadline:
            bench("--quick", "--runs", "1", "--case", "shm/same/64KiB", tmp=self.tmp.name)
        self.assertEqual(os.listdir(self.tmp.name), ["segue-bench-another"])

    def start_endless(self):
        process = subprocess.Popen([SEGUE, "bench", "handoff", "--runs", "1000", "--case", "shm/same/1GiB"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": self.tmp.name})
        deadline = time.monotonic() + 20
        while not os.listdir(self.tmp.name) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertTrue(os.listdir(self.tmp.name))
        return process

    def test_fault_rows(self):
        done = self.run_bench("--json", "--quick", "--runs", "2", "--case", "shm/mapped/*", name="fault")
        said = json.loads(done.stdout)
        self.assertEqual(said["bench"], "fault")
        self.assertEqual([row["case"] for row in said["rows"]], [f"shm/mapped/{what}" for what in ("kill", "stop", "cut")])
        for row in said["rows"]:
            self.assertEqual((row["unit"], row["n"], row["limit"]), ("ms", 2, 2000))
        self.assertEqual(done.returncode, 0 if all(row["met"] for row in said["rows"]) else 1)

    def test_usage(self):
        for options, words in ((["--case", "nothing"], "no case is called 'nothing'"), (["--runs", "0"], "1 to 1000"),
                               (["--slow"], "slow"), (["more"], "'more'")):
            done = self.run_bench(*options)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
