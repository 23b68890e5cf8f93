"""Adds up test reports and prints one closing line: "N passed, N failed[, N skipped]".

    count_tests.py LABEL=REPORT.xml...      (REPORT "skipped": a suite that this system cannot run)

ctest reports programs; the cases inside are counted from what cmocka printed. A program that failed
without a failed case (a crash, a sanitizer's report) counts as one failure. A missing report is a
failure too. Exit status 1 when something failed or nothing ran.
"""
import re
import sys
import xml.etree.ElementTree as xml

SUMMARY = re.compile(r"^\[  (PASSED  |SKIPPED |FAILED  )\] (\d+) test\(s\)", re.M)
NAMED = re.compile(r"^\[  (SKIPPED |FAILED  )\] ([A-Za-z_]\w*)$", re.M)


def count_case(case, tally):
    """One ctest program or one pytest case."""
    name = "/".join(x for x in (case.get("classname"), case.get("name")) if x)
    if case.get("classname") == case.get("name"):
        name = case.get("name")
    bad = case.find("failure") is not None or case.find("error") is not None
    bad = bad or case.get("status") == "fail"
    text = case.findtext("system-out") or ""
    counts = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}
    for word, n in SUMMARY.findall(text):
        counts[word.strip()] += int(n)
    if not bad and (case.find("skipped") is not None or case.get("status") in ("notrun", "disabled")):
        tally["skipped"].append(name)
        return
    if not any(counts.values()):
        counts["FAILED" if bad else "PASSED"] = 1
    elif bad and not counts["FAILED"]:
        counts["FAILED"] = 1
    tally["passed"] += counts["PASSED"]
    inner = {word.strip(): [] for word in ("SKIPPED", "FAILED")}
    for word, test in dict.fromkeys(NAMED.findall(text)):
        inner[word.strip()].append(f"{name}: {test}")
    for word in ("SKIPPED", "FAILED"):
        names = inner[word][:counts[word]]
        tally[word.lower()] += names + [name] * (counts[word] - len(names))


def main():
    total = {"passed": 0, "failed": [], "skipped": []}
    for arg in sys.argv[1:]:
        label, path = arg.split("=", 1)
        tally = {"passed": 0, "failed": [], "skipped": []}
        if path == "skipped":
            tally["skipped"].append("the whole suite: not on this system")
        else:
            try:
                for case in xml.parse(path).getroot().iter("testcase"):
                    count_case(case, tally)
            except (OSError, xml.ParseError) as e:
                tally["failed"].append(f"no report: {e}")
        print(f"{label}: {tally['passed']} passed, {len(tally['failed'])} failed, "
              f"{len(tally['skipped'])} skipped")
        for word in ("failed", "skipped"):
            for name in tally[word]:
                print(f"  {word}: {name}")
            total[word] += tally[word]
        total["passed"] += tally["passed"]
    line = f"{total['passed']} passed, {len(total['failed'])} failed"
    if total["skipped"]:
        line += f", {len(total['skipped'])} skipped"
    print(line)
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
