#!/usr/bin/env python3
"""Writes src/tok/tok_class.inc.h: the class of every code point, as runs, for Unicode 15.1.

    /usr/bin/python3 tools/make_tok_class.py > src/tok/tok_class.inc.h

The categories are read from libutf8proc 2.8 (Unicode 15.0). Unicode 15.1 added exactly the 627 code
points of ADDED_IN_15_1. The table is committed: it changes only when we choose another Unicode.
"""
import ctypes
import sys

ADDED_IN_15_1 = [(0x2EBF0, 0x2EE5D, "Lo"), (0x2FFC, 0x2FFF, "So"), (0x31EF, 0x31EF, "So")]
CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So "
              "Zs Zl Zp Cc Cf Cs Co").split()
CLASS = {"Cn": 0, "Lu": 1, "Ll": 2, "Lt": 3, "Lm": 4, "Lo": 5, "M": 6, "N": 7, "P": 8, "S": 9,
         "C": 10, "Z": 11}
WHITE_SPACE_CONTROLS = {9, 10, 11, 12, 13, 0x85}


def class_of(cp, utf8proc):
    if cp in WHITE_SPACE_CONTROLS:
        return CLASS["Z"]
    for first, last, category in ADDED_IN_15_1:
        if first <= cp <= last:
            return CLASS.get(category) or CLASS[category[0]]
    category = CATEGORIES[utf8proc.utf8proc_category(cp)]
    return CLASS.get(category, CLASS.get(category[0]))


def main():
    utf8proc = ctypes.CDLL("libutf8proc.so.2")
    utf8proc.utf8proc_unicode_version.restype = ctypes.c_char_p
    if utf8proc.utf8proc_unicode_version() != b"15.0.0":
        sys.exit("this script knows what to add to Unicode 15.0.0 only")
    runs, last = [], None
    for cp in range(0x110000):
        now = class_of(cp, utf8proc)
        if now != last:
            runs.append(cp << 8 | now)
        last = now
    print("/* Made by tools/make_tok_class.py (Unicode 15.1): first code point << 8 | class. */")
    for i in range(0, len(runs), 9):
        print(" ".join(f"0x{run:X}," for run in runs[i:i + 9]))


main()
