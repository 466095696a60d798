#!/usr/bin/env python3
"""Cuts weights/demo.safetensors in two where its image encoder ends, for the packages that carry it: a package holds at most 10 MB.

    python3 tools/split_demo.py"""

import json
import pathlib

WEIGHTS = pathlib.Path(__file__).resolve().parent.parent / "weights"


def main():
    file = (WEIGHTS / "demo.safetensors").read_bytes()
    start = 8 + int.from_bytes(file[:8], "little")
    tensors = {name: entry for name, entry in json.loads(file[8:start]).items() if name != "__metadata__"}
    cut = start + max(entry["data_offsets"][1] for name, entry in tensors.items() if name.startswith("image_encoder."))
    others = [entry["data_offsets"][0] for name, entry in tensors.items() if not name.startswith("image_encoder.")]
    assert all(start + begin >= cut for begin in others), "the image encoder's tensors do not come first"
    for part, content in (("encoder", file[:cut]), ("decoder", file[cut:])):
        (WEIGHTS / f"demo_{part}" / f"{part}.part").write_bytes(content)
        print(f"weights/demo_{part}/{part}.part: {len(content)} bytes")


if __name__ == "__main__":
    main()
