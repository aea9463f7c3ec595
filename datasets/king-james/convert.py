#!/usr/bin/env python3
"""Makes genesis-mark.txt.gz of this folder out of Debian's package bible-kjv-text.

usage: convert.py FOLDER, where FOLDER holds bin/bible and lib/bible.data, e.g. after

    apt-get download bible-kjv bible-kjv-text
    for package in bible-kjv*.deb; do dpkg-deb -x "$package" unpacked; done
    convert.py unpacked/usr
"""

import gzip
import pathlib
import re
import subprocess
import sys

BOOKS = [("Genesis", "Gen1:1-Gen50:26"), ("Mark", "Mark1:1-Mark16:20")]


def verses(usr, span):
    command = [usr / "bin/bible", "-p", usr / "lib", "-f", "-l100000", span]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in printed.splitlines():
        match = re.fullmatch(r"[1-9]?[A-Z][a-z]+(\d+):(\d+) (.+)", line.rstrip())
        if match:
            yield int(match[1]), match[3]
        elif line.strip():
            raise SystemExit(f"not a verse: {line!r}")


def main():
    usr = pathlib.Path(sys.argv[1])
    text = []
    for book, span in BOOKS:
        chapter = 0
        for at, verse in verses(usr, span):
            if at != chapter:
                chapter = at
                text.append(f"\n{book} {chapter}\n\n" if text else f"{book} {chapter}\n\n")
            text.append(verse + "\n")
    packed = gzip.compress("".join(text).encode(), 9, mtime=0)
    (pathlib.Path(__file__).parent / "genesis-mark.txt.gz").write_bytes(packed)


main()
