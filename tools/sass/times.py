#!/usr/bin/env python3
"""The paper times of a run with these kernels and with older ones, side by side. No GPU is asked.

    tools/sass/times.py --medsegx target/release/medsegx                     vit_b on an H100, batch 1 and 64
    tools/sass/times.py --medsegx target/release/medsegx --card a100 --rows  every step

The model is that of `medsegx bench floors` (src/cli/bench/paper.rs says what it counts), and there is no other: this only
asks it twice, once with the binary's own kernels/machine_code.tsv and once with before.tsv, and divides. Launches are
those of today on both sides, but for what before.tsv says of them (README.md): where kernels or blocks are others now, the older
ones are charged with the launches that they had.

The code outside of a loop is charged once as it stands, whether a launch runs all of it or not: copies that unrolling made
of what seldom runs count, too, and cutting them looks better than it is, while a loop there counts as one turn. `loops alone`
leaves that code out of both sides.
"""

import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The operations that a decoder's graph begins with.
DECODER = ("decoder_input", "mask_embed", "image_source", "prompt_tokens")


def floors(options, *code):
    """Reports of `bench floors`."""
    command = [options.medsegx, "bench", "floors", "--json", "--config", options.config, "--card", options.card, "--batch", options.batch]
    return json.loads(subprocess.run([*command, *code], check=True, capture_output=True, text=True).stdout)


def in_decoder(steps):
    """Of each step, whether it comes behind the encoder: all from the decoder's input on."""
    first = next(i for i, step in enumerate(steps) if step["op"].startswith(DECODER))
    return [i >= first for i in range(len(steps))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", required=True, help="the binary whose kernels and launches are asked for")
    parser.add_argument("--config", default="vit_b")
    parser.add_argument("--card", default="h100", help="a card of bench floors")
    parser.add_argument("--batch", default="1,64")
    parser.add_argument("--old", type=pathlib.Path, default=HERE / "before.tsv", help="the older kernels' table")
    parser.add_argument("--rows", action="store_true", help="every step")
    options = parser.parse_args()
    for new, old in zip(floors(options), floors(options, "--code", options.old)):
        behind = in_decoder(new["rows"])
        for key, what in (("counted_us", "whole code"), ("loops_us", "loops alone")):
            pairs = [[step["count"] * step[key] for step in (now, was)] for now, was in zip(new["rows"], old["rows"])]
            for step, (now, was) in zip(new["rows"], pairs):
                if options.rows:
                    print(f"{step['op']:20} {step['shapes']:44} {now:9.2f} us, of the older kernels {was:9.2f}: {now / was:.3f}")
            for part in ("run", "decoder"):
                now, was = (sum(pair[i] for pair, late in zip(pairs, behind) if late or part == "run") for i in (0, 1))
                print(f"{new['config']} batch {new['batch']:3} on {options.card}, {what:11} {part:7} {now:8.1f} us, "
                      f"of the older kernels {was:8.1f}: {now / was:.3f}")


if __name__ == "__main__":
    sys.exit(main())
