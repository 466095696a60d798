#!/usr/bin/env python3
"""Checks that other tools read medsegx's NRRD, seg.nrrd and MetaImage masks where their images lie, that medsegx reads what
those tools write, that names of labels go both ways in NIfTI headers, and that `medsegx score` has the numbers of medpy and
surface-distance.

    python3 tools/check_formats.py [--medsegx target/release/medsegx] [--keep DIR]

Images are made here, in all 48 orders and signs of axes and one turned out of them. Needs numpy, scipy, nibabel, SimpleITK,
pynrrd, slicerio, medpy and surface-distance.
"""
import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import medpy.metric.binary
import nibabel
import nrrd
import numpy
import scipy.ndimage
import SimpleITK
import slicerio

# surface-distance 0.1 asks for names that SciPy and NumPy no longer have.
scipy.ndimage.filters = scipy.ndimage.morphology = scipy.ndimage
import surface_distance  # noqa: E402
import surface_distance.metrics  # noqa: E402


def sort_distances(distances, areas):
    """Its own, with a list where NumPy wants one."""
    pairs = numpy.array(sorted(zip(distances, areas)))
    return pairs[:, 0], pairs[:, 1]


surface_distance.metrics._sort_distances_surfels = sort_distances

SIZE = (24, 20, 6)
BOX = "6,5,1,15,13,4"
LPS = numpy.diag([-1.0, -1.0, 1.0])


def affines():
    """All orders and signs of axes, then one turned by three angles; RAS+."""
    scale, origin = numpy.array([0.75, 1.25, 3.0]), numpy.array([-31.5, 17.25, 404.0])
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            yield numpy.eye(3)[:, order] * scale * signs, origin
    c, s = numpy.cos(0.4), numpy.sin(0.4)
    turn = numpy.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ numpy.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    yield turn * scale, origin


def blob():
    x, y, z = numpy.ogrid[:SIZE[0], :SIZE[1], :SIZE[2]]
    inside = ((x - 10.5) / 4.5) ** 2 + ((y - 9) / 4) ** 2 + ((z - 2.5) / 2) ** 2 <= 1
    return (40 + 160 * inside + (3 * x + 5 * y + 7 * z) % 9).astype(numpy.int16)


def sitk_image(values, matrix, origin):
    image = SimpleITK.GetImageFromArray(numpy.ascontiguousarray(values.T))
    spacing = numpy.linalg.norm(matrix, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ matrix / spacing).ravel().tolist())
    image.SetOrigin((LPS @ origin).tolist())
    return image


def centre(inside, matrix, origin):
    """Millimetres (RAS+) of the middle of a mask `[i, j, k]`."""
    return matrix @ numpy.argwhere(inside).mean(axis=0) + origin


def sitk_centre(path):
    image = SimpleITK.ReadImage(str(path))
    inside = SimpleITK.GetArrayFromImage(image).T > 0
    matrix = numpy.array(image.GetDirection()).reshape(3, 3) * numpy.array(image.GetSpacing())
    return centre(inside, LPS @ matrix, LPS @ numpy.array(image.GetOrigin())), inside


def nrrd_centre(values, header):
    matrix, origin = numpy.array(header["space directions"]).T, numpy.array(header["space origin"])
    assert header["space"] == "left-posterior-superior", header["space"]
    return centre(values > 0, LPS @ matrix, LPS @ origin), values > 0


def nibabel_centre(path):
    image = nibabel.load(path)
    inside = numpy.asarray(image.dataobj) > 0
    return centre(inside, image.affine[:3, :3], image.affine[:3, 3]), inside


def readers(path):
    name = path.name
    if name.endswith(".nii.gz"):
        yield "nibabel", nibabel_centre(path)
    yield "SimpleITK", sitk_centre(path)
    if name.endswith(".nrrd"):
        yield "pynrrd", nrrd_centre(*nrrd.read(str(path)))
    if name.endswith(".seg.nrrd"):
        segmentation = slicerio.read_segmentation(str(path))
        [segment] = segmentation["segments"]
        assert (segment["name"], segment["labelValue"]) == ("CT_Liver", 1), segment
        voxels = slicerio.extract_segments(segmentation, [("CT_Liver", 1)])["voxels"]
        to_lps = segmentation["ijkToLPS"]
        yield "slicerio", (centre(voxels > 0, LPS @ to_lps[:3, :3], LPS @ to_lps[:3, 3]), voxels > 0)


def check_places(medsegx, folder):
    values, checked = blob(), 0
    for number, (matrix, origin) in enumerate(affines()):
        image = sitk_image(values, matrix, origin)
        for kind in ["nrrd", "mha"]:
            source = folder / f"image{number}.{kind}"
            SimpleITK.WriteImage(image, str(source), useCompression=number % 2 == 0)
            names = ["mask.nii.gz", "mask.nrrd", "mask.seg.nrrd", "mask.mha"]
            for name in names if number % 7 == 0 else names[number % 4:][:1]:
                target = folder / name
                subprocess.run([medsegx, "segment", source, "--box3d", BOX, "--task", "CT_Liver", "-o", target, "--force", "-q"],
                               check=True)
                found = dict(readers(target))
                _, inside = found["SimpleITK"]
                assert inside.any(), "an empty mask"
                expected = centre(inside, matrix, origin)
                for reader, (place, read) in found.items():
                    apart = numpy.linalg.norm(place - expected)
                    assert apart < 0.01 and (read == inside).all(), f"{reader}, {name} of {source.name}: {apart} mm"
                    checked += 1
    print(f"{checked} masks lie where their images lie, by nibabel, SimpleITK, pynrrd and slicerio")


def score(medsegx, folder, masks, spacing, definition, tolerance):
    paths = []
    for name, mask in zip("ab", masks):
        paths.append(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask.astype(numpy.uint8), numpy.diag([*spacing, 1])), paths[-1])
    command = [medsegx, "score", *paths, "--definition", definition, "--tolerance", str(tolerance), "--json",
               "--spacing", ",".join(map(str, spacing))]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return report["labels"][0]


def check_scores(medsegx, folder, rounds):
    random = numpy.random.default_rng(7)
    for number in range(rounds):
        shape, spacing = random.integers(6, 40, 3), random.choice([0.5, 0.8, 1.0, 2.5, 5.0], 3).tolist()
        smooth = [scipy.ndimage.gaussian_filter(random.normal(size=shape), 2.0) for _ in range(2)]
        masks = [smooth[0] > 0.02, (smooth[0] + 0.4 * smooth[1]) > 0.02]
        if not all(mask.any() for mask in masks):
            continue
        found = score(medsegx, folder, masks, spacing, "medpy", 1.5)
        expected = medpy.metric.binary.hd95(*masks, spacing)
        assert abs(found["hd95"] - expected) < 1e-9, f"medpy, {number}: {found['hd95']} and {expected}"
        found = score(medsegx, folder, masks, spacing, "surface-distance", 1.5)
        distances = surface_distance.compute_surface_distances(masks[1], masks[0], spacing)
        for name, expected in [("hd95", surface_distance.compute_robust_hausdorff(distances, 95)),
                               ("nsd", surface_distance.compute_surface_dice_at_tolerance(distances, 1.5)),
                               ("dice", surface_distance.compute_dice_coefficient(*masks))]:
            assert abs(found[name] - expected) < 1e-9, f"surface-distance {name}, {number}: {found[name]} and {expected}"
    print(f"HD95, NSD and Dice of {rounds} pairs of masks are those of medpy and surface-distance")


def check_names(medsegx, folder):
    """Names of labels in a NIfTI header, as TotalSegmentator's loader asks nibabel for them, and in files of nibabel."""
    boxes, image = pathlib.Path("tests/data/phantom_boxes.json"), "tests/data/phantom.nii.gz"
    meant = {target["label"]: target["name"] for target in json.loads(boxes.read_text())["targets"]}
    subprocess.run([medsegx, "boxes", boxes, "--image", image, "-o", folder / "names.nii.gz"], check=True, capture_output=True)
    ours = nibabel.load(folder / "names.nii.gz")
    table = xml.etree.ElementTree.fromstring(ours.header.extensions[0].get_content())
    assert {int(label.get("Key")): label.text for label in table.iter("Label")} == meant
    assert ours.affine.tolist() == nibabel.load(image).affine.tolist()
    for code in (0, 30):
        labels = "".join(f"<Label Key='{label}' Alpha='1'>{name} &amp; co</Label>" for label, name in meant.items())
        text = f"<CaretExtension><VolumeInformation><LabelTable>{labels}</LabelTable></VolumeInformation></CaretExtension>"
        theirs = nibabel.Nifti1Image(numpy.asarray(ours.dataobj), ours.affine)
        theirs.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"another one first"))
        theirs.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, text.encode()))
        nibabel.save(theirs, folder / f"theirs{code}.nii.gz")
        command = [medsegx, "info", folder / f"theirs{code}.nii.gz", "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert {row["label"]: row["name"] for row in report["label_names"]} == {k: f"{v} & co" for k, v in meant.items()}
    print(f"names of {len(meant)} labels are read by nibabel from the header, and nibabel's with codes 0 and 30 by medsegx")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--medsegx", default="target/release/medsegx")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        check_scores(arguments.medsegx, folder, arguments.rounds)
        check_places(arguments.medsegx, folder)
        check_names(arguments.medsegx, folder)


if __name__ == "__main__":
    sys.exit(main())
