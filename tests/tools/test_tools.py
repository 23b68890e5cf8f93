"""The scripts that the build and the checks stand on: a check that never fails checks nothing."""
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys

import pytest

TOOLS = os.path.join(os.path.dirname(__file__), "..", "..", "tools")


def run(script, *args, cwd=None):
    done = subprocess.run([sys.executable, str(script), *map(str, args)], cwd=cwd, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def tree(tmp_path):
    """A house of three rooms, and a function that writes a file into it and checks the tree."""
    (tmp_path / "tools").mkdir()
    shutil.copy(os.path.join(TOOLS, "check_includes.py"), tmp_path / "tools")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/rooms.txt").write_text("# top first\ntop: low\nside: low\nlow:\n")
    for room in ("top", "side", "low"):
        (tmp_path / "src" / room).mkdir()
        (tmp_path / f"src/{room}/{room}.h").write_text("")

    def check(path=None, text=""):
        if path:
            (tmp_path / path).write_text(text)
        return run(tmp_path / "tools/check_includes.py")

    return check


GOOD = '#include "top/top.h"\n\n#include <stdio.h>\n\n#include "low/low.h"\n#include "cama.h"\nint x;\n#include "top/x.inc.h"\n'


def test_a_tree_in_order_passes(tree):
    assert tree()[0] == 0
    assert tree("src/top/top.c", GOOD)[0] == 0
    assert tree("src/main.c", '#include <stdio.h>\n#include "top/top.h"\n#include "side/side.h"\n')[0] == 0


@pytest.mark.parametrize("path, text, why", [
    ("src/low/a.c", '#include "top/top.h"\n', "climbs"),
    ("src/top/a.c", '#include "side/side.h"\n', "is not linked"),
    ("src/low/a.h", 'int x;\n#ifdef X\n#  include "side/side.h"\n#endif\n', "climbs"),
    ("src/top/a.c", '#include "nowhere/x.h"\n', "is no room"),
    ("src/top/top.c", '#include <stdio.h>\n#include "top/top.h"\n', "own header"),
    ("src/top/top.c", '#include "top/top.h"\n#include "low/low.h"\n#include <stdio.h>\n', "after a header of the project"),
    ("src/top/low.h", "", "the name is taken"),
    ("src/rooms.txt", "top: low\nside: top\nlow:\n", "not below it"),
])
def test_each_breach_is_found(tree, path, text, why):
    code, lines = tree(path, text)
    assert code == 1
    assert any(why in line for line in lines), lines


def suite(*cases):
    return "<testsuite>" + "".join(cases) + "</testsuite>"


def program(name, status, out):
    failure = "<failure/>" if status == "fail" else ""
    return f'<testcase name="{name}" classname="{name}" status="{status}">{failure}<system-out>{out}</system-out></testcase>'


def count(tmp_path, text):
    (tmp_path / "r.xml").write_text(text)
    code, lines = run(os.path.join(TOOLS, "count_tests.py"), f"x={tmp_path / 'r.xml'}")
    return code, lines


@pytest.mark.parametrize("text, code, last", [
    (suite(program("a", "run", "[  PASSED  ] 3 test(s).\n"), program("b", "run", "no cmocka")), 0, "4 passed, 0 failed"),
    (suite(program("a", "fail", "[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] bad\n")), 1,
     "2 passed, 1 failed"),
    (suite(program("a", "run", "[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] later\n")), 0,
     "2 passed, 0 failed, 1 skipped"),
    # a sanitizer's report after the last test, and a crash before it
    (suite(program("a", "fail", "[  PASSED  ] 2 test(s).\n==1==ERROR\n")), 1, "2 passed, 1 failed"),
    (suite(program("a", "fail", "[ RUN      ] first\n")), 1, "0 passed, 1 failed"),
    (suite('<testcase name="t" classname="m"/><testcase name="u" classname="m"><skipped/></testcase>'), 0,
     "1 passed, 0 failed, 1 skipped"),
    (suite('<testcase name="t" classname="m"><error/></testcase>'), 1, "0 passed, 1 failed"),
    (suite(), 1, "0 passed, 0 failed"),
    ("not xml", 1, "0 passed, 1 failed"),
])
def test_reports_are_added_up(tmp_path, text, code, last):
    got, lines = count(tmp_path, text)
    assert (got, lines[-1]) == (code, last)


def test_failed_and_skipped_cases_are_named(tmp_path):
    out = ("[  PASSED  ] 1 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] slow\n"
           "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] bad\n")
    lines = count(tmp_path, suite(program("prog", "fail", out)))[1]
    assert "  failed: prog: bad" in lines and "  skipped: prog: slow" in lines


def test_a_missing_report_is_a_failure():
    code, lines = run(os.path.join(TOOLS, "count_tests.py"), "x=/no/such/file.xml")
    assert code == 1 and lines[-1] == "0 passed, 1 failed"


def test_a_model_with_a_wrong_sum_is_refused():
    spec = importlib.util.spec_from_file_location("fetch_model", os.path.join(TOOLS, "fetch_model.py"))
    fetch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch)
    data = b"x" * 3000000
    out = io.BytesIO()
    fetch.copy_checked(io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest(), "it", out)
    assert out.getvalue() == data
    with pytest.raises(SystemExit, match="SHA-256 is"):
        fetch.copy_checked(io.BytesIO(data + b"y"), len(data), hashlib.sha256(data).hexdigest(), "it")
