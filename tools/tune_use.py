#!/usr/bin/env python3
"""What tuning on a few slices is worth. For each structure of labelled volumes that has 10 slices or more (of 30 pixels
each): Dice on the slices that were not tuned on, before and after, beside the ellipse inscribed in the box, and on
another patient where there is one. Every slice gets its tight box. Slices to tune on are spread over the structure, moved
on by the seed; of several seeds the one with the median gain is shown. Tables, then each goal with what was reached.

Volumes: ct, mr and cta of ../shared, and the sample volume of this repository (phantom). The other patient of ct is the
series dicom-ct, that of cta is ct. Each measurement is appended to --record and taken from there by the next call with
the same settings, so that many calls, for a structure each, end in one table. Needs numpy and nibabel."""

import argparse
import functools
import json
import pathlib
import subprocess
import tempfile

import nibabel
import numpy as np
from nibabel import orientations as ornt

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared/data"
VOLUMES = ("ct", "mr", "cta", "phantom")
OTHER = {"ct": "dicom-ct", "cta": "ct"}
UNSEEN = ("head&neck", "head", "brain", "unseen")
# A slice counts where the structure has as many pixels, a structure where it has as many slices.
LEAST_PIXELS, LEAST_SLICES = 30, 10
# Exit codes of `tune`; with 1 validation did not improve, and no file is written.
UNHELPFUL = (0, 1)
FOUR = ("liver", "kidney_left", "vertebrae_L1", "aorta")


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def tight_box(mask):
    x, y = np.nonzero(mask)
    return [int(v) for v in (x.min(), y.min(), x.max(), y.max())]


def ellipse(mask):
    x0, y0, x1, y1 = tight_box(mask)
    x, y = np.ogrid[: mask.shape[0], : mask.shape[1]]
    along = lambda at, low, high: (2 * at - low - high) / (high - low + 1)
    return along(x, x0, x1) ** 2 + along(y, y0, y1) ** 2 <= 1


class Case:
    """A labelled volume: its files, its labels and what they are."""

    def __init__(self, binary, name):
        volumes, sample = SHARED / "ct-mr-volumes", ROOT / "tests/data"
        listed = lambda of: json.loads((volumes / "labels.json").read_text())[of]
        self.modality = "MRI" if name == "mr" else "CT"
        if name == "phantom":
            self.image, self.labels_file = sample / "phantom.nii.gz", sample / "phantom_labels.nii.gz"
            self.entries = json.loads((sample / "phantom_boxes.json").read_text())["targets"]
        elif name == "cta":
            self.image, self.labels_file = SHARED / "cta/ct_cropped.nii.gz", SHARED / "cta/aorta.nii.gz"
            self.entries = [{"name": "aorta", "task": "CT_Aorta", "label": 1}]
        elif name == "dicom-ct":
            self.image, self.labels_file = SHARED / "dicom-ct", volumes / "example_seg_dicom.nii.gz"
            self.entries = listed("example_seg_dicom")
        else:
            image, labels = {"ct": ("example_ct_sm", "example_seg"), "mr": ("example_mr_sm", "example_seg_mr")}[name]
            self.image, self.labels_file = volumes / f"{image}.nii.gz", volumes / f"{labels}.nii.gz"
            self.entries = listed(labels)
        labels = nibabel.load(self.labels_file)
        self.labels = np.asarray(labels.dataobj)
        if self.image.is_dir():
            said = run(binary, "info", self.image, "--volume", "1", "--json")
            affine = np.array(json.loads(said)["geometry"]["affine"])
            way = ornt.ornt_transform(ornt.io_orientation(labels.affine), ornt.io_orientation(affine))
            self.labels = ornt.apply_orientation(self.labels, way)

    @functools.cached_property
    def structures(self):
        found = [Structure(self, entry) for entry in self.entries]
        return {structure.name: structure for structure in found if len(structure.slices) >= LEAST_SLICES}


class Structure:
    def __init__(self, case, entry):
        self.case, self.name, self.task, self.label = case, entry["name"], entry["task"], entry["label"]
        self.truth = case.labels == self.label
        self.slices = [k for k in range(self.truth.shape[2]) if self.truth[:, :, k].sum() >= LEAST_PIXELS]

    def place(self):
        """Where it stands in MedSegDB's tree; what has no task there is asked for as unseen."""
        if self.task:
            return {"task": self.task}
        return {"modality": self.case.modality, **dict(zip(("body_part", "subregion", "organ", "target"), UNSEEN))}

    def ellipses(self):
        return float(np.mean([dice(ellipse(self.truth[:, :, k]), self.truth[:, :, k]) for k in self.slices]))

    def dices(self, args, folder, *more):
        """Slice by slice, each from its own tight box."""
        boxes = {str(k): tight_box(self.truth[:, :, k]) for k in self.slices}
        target = {"name": self.name, "label": 1, **self.place(), "slices": boxes}
        prompts, out = folder / "boxes.json", folder / "mask.nii.gz"
        prompts.write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": [target]}))
        run(args.binary, "segment", self.case.image, "--boxes", prompts, "-o", out, "--force", "--quiet", *more,
            *engine(args))
        mask = np.asarray(nibabel.load(out).dataobj) > 0
        return {str(k): float(dice(mask[:, :, k], self.truth[:, :, k])) for k in self.slices}

    def chosen(self, count, seed, seeds):
        step, start = len(self.slices) / count, (seed + 0.5) / seeds
        return sorted({self.slices[int(step * (i + start))] for i in range(count)})

    def tune(self, args, slices, seed, file):
        place = [f"--{key.replace('_', '-')}={value}" for key, value in self.place().items()]
        how = [word for name in ("steps", "rate", "jitter") if getattr(args, name) is not None
               for word in (f"--{name}", getattr(args, name))]
        run(args.binary, "tune", self.case.image, "--labels", self.case.labels_file, "--label", self.label, *place,
            "--slices", ",".join(map(str, slices)), "--validate", args.validate, "--seed", seed, "-o", file, "--force",
            "--quiet", *how, *engine(args), allowed=(0,) if args.validate == "none" else UNHELPFUL)


def run(binary, *arguments, allowed=(0,)):
    done = subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"{arguments}\n{done.stderr}")
    return done.stdout


def engine(args):
    kept = ["--embeddings", args.embeddings] if args.embeddings else []
    return ["--device", "cpu", "--threads", args.threads, *kept]


class Record:
    """Measurements, each under the settings that made it."""

    def __init__(self, file, settings):
        self.file, self.settings, self.known = file, settings, {}
        lines = file.read_text().splitlines() if file and file.exists() else []
        for line in map(json.loads, lines):
            if line["settings"] == settings:
                self.known[tuple(line["key"])] = line["value"]

    def get(self, key, measure):
        if key not in self.known:
            self.known[key] = measure()
            if self.file:
                with open(self.file, "a") as file:
                    file.write(json.dumps({"settings": self.settings, "key": key, "value": self.known[key]}) + "\n")
        return self.known[key]


def measure(args, record, case_name, structure, other, folder):
    """-> {(where, count): [(before, after) of each seed]}, where is same or other."""
    key = (case_name, structure.name)
    whole = {"same": record.get((*key, "same"), lambda: structure.dices(args, folder))}
    if other:
        whole["other"] = record.get((*key, "other"), lambda: other.dices(args, folder))
    gains = {}
    for count in args.slices:
        for seed in range(args.seeds):
            tuned_on = structure.chosen(count, seed, args.seeds)
            after = record.get((*key, count, seed), lambda: tuned(args, structure, other, tuned_on, seed, folder))
            for where, before in whole.items():
                slices = [k for k in before if where == "other" or int(k) not in tuned_on]
                if slices:
                    pair = [float(np.mean([of[k] for k in slices])) for of in (before, after[where] or before)]
                    gains.setdefault((where, count), []).append(pair)
    return gains


def tuned(args, structure, other, slices, seed, folder):
    """Dice after tuning; None where the weights were kept as they are."""
    file = folder / "tuned.safetensors"
    file.unlink(missing_ok=True)
    structure.tune(args, slices, seed, file)
    if not file.exists():
        return {"same": None, "other": None}
    more = ("--tuned", file)
    return {"same": structure.dices(args, folder, *more), "other": other.dices(args, folder, *more) if other else None}


def middle(pairs):
    """Before and after of the seed with the median gain (of an even number the lower of the two)."""
    return sorted(pairs, key=lambda pair: pair[1] - pair[0])[(len(pairs) - 1) // 2]


def table(title, rows, counts):
    print(f"| {title} | slices | ellipse | " + " | ".join(f"{count} tuned on" for count in counts) + " |")
    print("|---" * (3 + len(counts)) + "|")
    for name, slices, shape, gains in rows:
        cells = ["{:.3f} to {:.3f}".format(*middle(gains[count])) if count in gains else "" for count in counts]
        print("| " + " | ".join([name, str(slices), f"{shape:.3f}", *cells]) + " |")
    print()


def goal(what, value, least):
    print(f"- {what}: {value:+.3f}, {'met' if value >= least else 'not met'} (goal {least:+.2f})")


def goals(found, counts):
    """The goals of tuning on 3 slices, and the worst median of all that was measured."""
    gain = {at: after - before for at, (before, after) in found.items()}
    three = {name: value for (volume, name, where, count), value in gain.items()
             if (volume, where, count) == ("ct", "same", 3)}
    if all(name in three for name in FOUR):
        goal("mean gain at 3 slices over liver, left kidney, vertebra L1 and aorta of ct",
             np.mean([three[name] for name in FOUR]), 0.08)
    if three:
        goal(f"mean gain at 3 slices over the {len(three)} structures of ct", np.mean(list(three.values())), 0.04)
    for where, said in (("same", "other slices"), ("other", "another patient")):
        for count in counts:
            of = {at: value for at, value in gain.items() if at[2:] == (where, count)}
            if of:
                worst = min(of, key=of.get)
                goal(f"{said}, {count} tuned on, mean {np.mean(list(of.values())):+.3f} over {len(of)}, the least median "
                     f"gain ({worst[1]} of {worst[0]})", of[worst], -0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/medsegx")
    parser.add_argument("--volumes", nargs="+", choices=VOLUMES, default=VOLUMES)
    parser.add_argument("--structures", nargs="*", help="names; default: all that have 10 slices")
    parser.add_argument("--slices", nargs="+", type=int, default=[1, 3, 5, 10], help="how many are tuned on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", default="none", help="none (default): what tuning does is measured, helpful or not")
    parser.add_argument("--steps", help="default of these three: those of `medsegx tune`")
    parser.add_argument("--rate")
    parser.add_argument("--jitter")
    parser.add_argument("--threads", default=1)
    parser.add_argument("--embeddings", type=pathlib.Path, help="keep what the encoder makes of slices in this folder")
    parser.add_argument("--record", type=pathlib.Path, help="file that measurements are kept in")
    args = parser.parse_args()
    settings = {name: getattr(args, name) for name in ("seeds", "validate", "steps", "rate", "jitter")}
    record = Record(args.record, settings)
    found, tables = {}, []
    case = functools.cache(lambda name: Case(args.binary, name))
    with tempfile.TemporaryDirectory() as folder:
        for volume in args.volumes:
            rows = {"same": [], "other": []}
            others = case(OTHER[volume]).structures if volume in OTHER else {}
            for name, structure in case(volume).structures.items():
                if args.structures and name not in args.structures:
                    continue
                gains = measure(args, record, volume, structure, others.get(name), pathlib.Path(folder))
                for where, of in (("same", structure), ("other", others.get(name))):
                    cells = {count: pairs for (at, count), pairs in gains.items() if at == where}
                    found.update({(volume, name, where, count): middle(pairs) for count, pairs in cells.items()})
                    if of:
                        rows[where].append((name, len(of.slices), of.ellipses(), cells))
            tables.append((f"{volume}: other slices of", rows["same"]))
            tables.append((f"{volume} to {OTHER.get(volume)}: another patient's", rows["other"]))
    for title, rows in tables:
        if rows:
            table(title, rows, args.slices)
    goals(found, args.slices)


if __name__ == "__main__":
    main()
