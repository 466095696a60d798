#!/usr/bin/env python3
"""Inputs to begin the fuzz target `codecs` with, from tests/data/codecs: python3 fuzz/seeds.py fuzz/corpus/codecs"""
import json
import sys
from pathlib import Path

SYNTAXES = [["5"], ["4.50", "4.51", "4.57", "4.70"], ["4.80", "4.81"], ["4.90", "4.91", "4.201", "4.203"]]


def main():
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent.parent / "tests/data/codecs"
    for vector in json.loads((source / "list.json").read_text()):
        ending = vector["syntax"].removeprefix("1.2.840.10008.1.2.")
        syntax = next(n for n, endings in enumerate(SYNTAXES) if ending in endings)
        tags = [vector[key] for key in ("rows", "columns", "samples", "bits_allocated", "bits_stored", "signed")]
        stream = (source / vector["stream"]).read_bytes()
        (target / vector["stream"].removesuffix(".stream")).write_bytes(bytes([syntax, *tags]) + stream)


if __name__ == "__main__":
    main()
