#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/check_layers finds what it is there to find: small trees, each broken in one way."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).resolve().parents[3] / "scripts/check_layers"
ORDERLY = {
    "src/LAYERS": "# layers\nsrc/base:\nsrc/kv: src/base\nengine:\nrouter/nginx: src/base\ntools: src/base engine\n",
    "src/libsegue.map": "S {\nglobal:\n    segue_two;\nlocal:\n    *;\n};\n",
    "include/segue/two.h": "#ifndef TWO_H\n#define TWO_H\n#define SEGUE_API\n"
                           "#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
                           "SEGUE_API int segue_two(const char *name);\n"
                           "#ifdef __cplusplus\n}\n#endif\n#endif\n",
    "src/base/map.h": "int map_of(int);\n",
    "src/base/map.c": "#include \"base/map.h\"\n#include <segue/two.h>\n#include <stdio.h>\n"
                      "/* ngx_str_t */ const char *word = \"ngx_str_t\";\n",
    "src/kv/plan.h": "#include \"base/map.h\"\n",
    "engine/run.c": "#include <segue/two.h>\n",
    "router/nginx/module.c": "#include <ngx_http.h>\nngx_str_t name;\n",
}


class CheckLayers(unittest.TestCase):
    def run_on(self, *checks, **changes):
        """Runs the checker on the orderly tree with files changed: path -> text."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in {**ORDERLY, **changes.pop("files", {})}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            if "shared" in changes:
                (root / "build/src").mkdir(parents=True)
                subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", root / changes["shared"]],
                               input=changes["source"], text=True, check=True)
            done = subprocess.run([sys.executable, CHECKER, "--root", root, *checks],
                                  capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr

    def assert_fault(self, sentence, result):
        status, output = result
        self.assertIn(sentence, output)
        self.assertEqual(status, 1, output)

    def test_an_orderly_tree_passes(self):
        self.assertEqual(self.run_on(), (0, ""))

    def test_use_of_a_layer_to_the_right(self):
        self.assert_fault("src/base/map.c:2: src/base may not use src/kv (kv/plan.h)", self.run_on(
            files={"src/base/map.c": "\n#include \"kv/plan.h\"\n"}))

    def test_engine_sees_the_public_headers_only(self):
        self.assert_fault("engine/run.c:1: engine may not use src/base", self.run_on(
            files={"engine/run.c": "#include \"base/map.h\"\n"}))
        self.assert_fault("engine/run.c:1: engine may not use src/base", self.run_on(
            files={"engine/run.c": "#include \"../src/base/map.h\"\n"}))

    def test_a_public_header_shows_nothing_private(self):
        self.assert_fault("include/segue/three.h:1: a public header may include only", self.run_on(
            "includes", files={"include/segue/three.h": "#include <base/map.h>\n"}))

    def test_an_unknown_folder_and_an_unknown_file(self):
        self.assert_fault("src/lost/a.c:1: lies in no folder", self.run_on(files={"src/lost/a.c": "\n"}))
        self.assert_fault("src/kv/a.c:1: includes \"kv/gone.h\"", self.run_on(
            files={"src/kv/a.c": "#include \"kv/gone.h\"\n"}))

    def test_circles(self):
        self.assert_fault("src/LAYERS:1: src/base uses src/kv, which is not listed above it", self.run_on(
            files={"src/LAYERS": "src/base: src/kv\nsrc/kv: src/base\nengine:\nrouter/nginx: src/base\n"}))
        self.assert_fault(
            "src/kv/a.h:1: includes form a circle: src/kv/a.h -> src/kv/b.h -> src/kv/a.h",
            self.run_on(files={"src/kv/a.h": "#include \"kv/b.h\"\n", "src/kv/b.h": "#include \"kv/a.h\"\n"}))

    def test_nginx_stays_at_home(self):
        self.assert_fault("engine/run.c:2: ngx_str_t: nginx's names stay", self.run_on(
            files={"engine/run.c": "/* ngx_ok */\nngx_str_t name;\n"}))

    def test_headers_compile_alone(self):
        self.assert_fault("include/segue/bad.h:1: does not compile alone as C11", self.run_on(
            "headers", files={"include/segue/bad.h": "int f(size_t);\n"}))
        self.assert_fault("include/segue/bad.h:1: does not compile alone as C++17", self.run_on(
            "headers", files={"include/segue/bad.h": "int f(int class);\n"}))
        self.assert_fault("include/segue/bad.h:1: does not compile alone as C11", self.run_on(
            "headers", files={"include/segue/bad.h": "struct unguarded { int i; };\n"}))

    def test_map_and_headers_agree(self):
        self.assert_fault("segue_three is public, but src/libsegue.map does not list it", self.run_on(
            files={"include/segue/three.h": "#include <segue/two.h>\nSEGUE_API int segue_three(void);\n"}))
        self.assert_fault("src/libsegue.map:3: no public header declares segue_old", self.run_on(
            files={"src/libsegue.map": "S {\nglobal:\n    segue_old;\n    segue_two;\nlocal:\n    *;\n};\n"}))
        self.assert_fault("src/libsegue.map:3: 'segue_*' is no plain symbol", self.run_on(
            files={"src/libsegue.map": "S {\nglobal:\n    segue_*;\n    segue_two;\n};\n"}))

    def test_libraries_export_what_is_listed(self):
        library = "build/src/libsegue.so"
        self.assertEqual(self.run_on("symbols", shared=library, source="int segue_two;"), (0, ""))
        self.assert_fault("libsegue.so does not export segue_two", self.run_on(
            "symbols", shared=library, source="int other;"))
        self.assert_fault("libsegue.so exports leak, which is not listed", self.run_on(
            "symbols", shared=library, source="int segue_two, leak;"))
        self.assert_fault("ngx_http_segue_module.so exports helper; make it static", self.run_on(
            "symbols", shared="build/src/ngx_http_segue_module.so", source="int ngx_modules, helper;"))

    def test_long_files_are_only_reported(self):
        status, output = self.run_on(files={"src/kv/long.c": "\n" * 501})
        self.assertEqual((status, output.split(":")[0]), (0, "note"))
        self.assertIn("src/kv/long.c has 501 lines", output)

    def test_an_unknown_check_is_a_usage_error(self):
        status, output = self.run_on("spelling")
        self.assertEqual(status, 2)
        self.assertIn("'spelling' is no check", output)


if __name__ == "__main__":
    unittest.main()
