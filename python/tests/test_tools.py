"""Sessions, the task tree, scores, tuning, and the awaitable form."""

import asyncio
import json
import os
import shutil
import subprocess

import medsegx
import numpy as np
import pytest
from conftest import AFFINE, BOX, PHANTOM, PHANTOM_LABELS, ROOT, dicom_series, pattern


def test_a_session_encodes_once_and_prompts_many_times(model):
    picture = pattern((60, 50), np.uint8)
    session = model.session()
    with pytest.raises(medsegx.ArgumentError, match="set_slice"):
        session.prompt([1, 1, 5, 5])
    session.set_slice(picture, task="CT_Liver")
    assert session.shape == (60, 50)
    whole = model.segment(picture, boxes=[10, 12, 0, 39, 44, 0], task="CT_Liver", batch=1)
    row = whole.targets[0].slices[0]
    found = session.prompt([10, 12, 39, 44])
    assert found.mask.dtype == bool and found.mask.any() and not found.mask.all()
    assert np.array_equal(found.mask, whole.labels == 1)
    assert found.chosen == row["mask"] and found.scores == row["scores"] and found.agreement == row["agreement"]
    again = session.prompt([10, 12, 39, 44])
    assert np.array_equal(again.mask, found.mask)
    other = session.prompt([5, 5, 20, 20])
    assert not np.array_equal(other.mask, found.mask)
    for box in ([10, 12, 50, 44], [20, 20, 10, 10], [-1, 0, 5, 5]):
        with pytest.raises(medsegx.PromptError):
            session.prompt(box)
    with pytest.raises(medsegx.PromptError, match="points"):
        session.prompt(points=[(3, 3, True)])


def test_tasks_are_searched():
    assert "Liver" in [task.target for task in medsegx.tasks("liver")]
    assert len(medsegx.tasks()) > 50 and "CT" in medsegx.modalities()
    assert medsegx.tasks("nothing of the kind") == []


def test_scores_are_those_of_the_command_line(cli, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    labels = nibabel.load(PHANTOM_LABELS)
    moved = np.roll(np.asarray(labels.dataobj), 2, axis=0)
    nibabel.save(nibabel.Nifti1Image(moved, labels.affine, labels.header), tmp_path / "moved.nii.gz")
    by_path = medsegx.score(tmp_path / "moved.nii.gz", PHANTOM_LABELS)
    by_image = medsegx.score(moved, labels, affine=labels.affine)
    assert by_path == by_image and by_path.unit == "mm" and by_path.spacing == (2.0, 2.0, 5.0)
    assert all(0 < score.dice < 1 for score in by_path.labels)
    binary = os.environ.get("MEDSEGX_CLI") or shutil.which("medsegx") or str(ROOT / "target/release/medsegx")
    said = subprocess.run([binary, "score", tmp_path / "moved.nii.gz", PHANTOM_LABELS, "--json"], capture_output=True, check=True)
    told = json.loads(said.stdout)
    for own, other in zip(by_path.labels, told["labels"], strict=True):
        assert own.label == other["label"]
        assert (own.dice, own.hd95, own.nsd) == (other["dice"], other["hd95"], other["nsd"])


def test_tuning_writes_a_file_that_a_model_takes(model, tmp_path):
    output = tmp_path / "liver.safetensors"
    tuned = medsegx.tune(PHANTOM, PHANTOM_LABELS, output, label=1, task="CT_Liver", slices=[8, 10, 12], steps=6, rate=2e-4,
                         validate="none", threads=2)  # fmt: skip
    assert tuned.path == output and output.exists() and tuned.slices == 3 and tuned.steps == 6
    assert tuned.losses[1] < tuned.losses[0]
    with_it = medsegx.Model(tuned=output, threads=2)
    box = {"liver": [22, 42, 10, 112, 109, 11]}
    assert not np.array_equal(
        with_it.segment(PHANTOM, boxes=box, task="CT_Liver").labels, model.segment(PHANTOM, boxes=box, task="CT_Liver").labels
    )
    with pytest.raises(medsegx.ArgumentError, match="force=True"):
        medsegx.tune(PHANTOM, PHANTOM_LABELS, output, label=1, task="CT_Liver", slices=[8], steps=1)


@pytest.mark.parametrize("train", ["decoder", "adapters", "all"])
def test_tuning_writes_what_the_command_line_writes(train, tmp_path):
    own, other = tmp_path / "own.safetensors", tmp_path / "other.safetensors"
    tuned = medsegx.tune(PHANTOM, PHANTOM_LABELS, own, label=1, task="CT_Liver", train=train, memory=1 << 20, slices=[8, 10], steps=2,
                         validate="none", device="cpu", threads=2)  # fmt: skip
    assert tuned.steps == 2 and tuned.path == own
    binary = os.environ.get("MEDSEGX_CLI") or shutil.which("medsegx") or str(ROOT / "target/release/medsegx")
    how = ["--label", "1=CT_Liver", "--slices", "8,10", "--steps", "2", "--validate", "none", "--device", "cpu", "--threads", "1"]
    subprocess.run([binary, "tune", PHANTOM, "--labels", PHANTOM_LABELS, *how, "--train", train, "-o", other], check=True)
    assert own.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", [True, "MAP"])
def test_tuning_on_real_world_values_is_the_command_lines(model, name, cli, tmp_path):
    pytest.importorskip("pydicom")
    nibabel = pytest.importorskip("nibabel")
    folder = dicom_series(tmp_path / "series", pattern((4, 24, 20), np.int16), real_world=(0.5, -800.0))
    drawn = np.zeros((20, 24, 4), np.uint8)
    drawn[4:15, 5:19, 1:3] = 1
    place = model.segment(folder, boxes=[4, 5, 1, 14, 18, 2], task="CT_Liver").affine
    nibabel.save(nibabel.Nifti1Image(drawn, place), tmp_path / "drawn.nii")
    how = {"label": 1, "task": "CT_Liver", "steps": 2, "validate": "none", "device": "cpu", "threads": 2, "intensity": "window:-500,1200"}
    own, scaled, other = (tmp_path / f"{name}.safetensors" for name in ("own", "scaled", "other"))
    medsegx.tune(folder, tmp_path / "drawn.nii", own, real_world=name, **how)
    medsegx.tune(folder, tmp_path / "drawn.nii", scaled, **how)
    code, said = cli("tune", folder, "--labels", tmp_path / "drawn.nii", "--label", "1=CT_Liver", "--steps", 2, "--validate", "none",
                     "--device", "cpu", "--intensity", "window:-500,1200", f"--real-world{'' if name is True else f'={name}'}",
                     "-o", other)  # fmt: skip
    assert code == 0, said
    assert own.read_bytes() == other.read_bytes() and tensors(own) != tensors(scaled)
    # It knows the folder that it was tuned on.
    tuned = medsegx.Model(tuned=own, threads=2)
    found = tuned.segment(folder, boxes=[4, 5, 1, 14, 18, 2], task="CT_Liver", real_world=name, intensity="window:-500,1200")
    assert not [warning for warning in found.warnings if warning.code.startswith("tuned")]
    with pytest.raises(medsegx.ArgumentError, match="real-world"):
        medsegx.tune(folder, tmp_path / "drawn.nii", own, real_world="none of it", **how, force=True)
    with pytest.raises(ValueError, match="real_world"):
        medsegx.tune([folder, nibabel.load(tmp_path / "drawn.nii")], [tmp_path / "drawn.nii"] * 2, own, real_world=name, force=True, **how)


def tensors(path):
    """The bytes of a safetensors file behind its header."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_a_model_that_is_used_otherwise_than_it_was_tuned_says_so(cli, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    output, report = tmp_path / "liver.safetensors", tmp_path / "report.json"
    medsegx.tune(PHANTOM, PHANTOM_LABELS, output, label=1, task="CT_Liver", slices=[8, 10], steps=1, validate="none", threads=2)
    tuned = medsegx.Model(tuned=output, threads=2)
    image, box = nibabel.load(PHANTOM), [22, 42, 10, 112, 109, 10]

    def said(given, **more):
        found = tuned.segment(given, boxes=box, task="CT_Liver", **more)
        return [warning.message for warning in found.warnings if warning.code == "tuned-otherwise"]

    assert said(PHANTOM) == said(image) == []
    elsewhere = [[w.code for w in tuned.segment(path, boxes=box, task="CT_Liver").warnings] for path in (PHANTOM, PHANTOM_LABELS)]
    assert "tuned-elsewhere" not in elsewhere[0] and "tuned-elsewhere" in elsewhere[1]
    [soft] = said(PHANTOM, intensity="soft")
    assert "tuned with intensity minmax, used with soft" in soft
    [across] = said(image, slice_axis="x")
    assert "tuned on slices across k" in across and "used on slices across i" in across
    mirrored = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    assert len(said(mirrored)) == 1 and said(mirrored, orient="ras") != []
    code, lines = cli("segment", PHANTOM, "--box3d", "22,42,10,112,109,10", "--task", "CT_Liver", "--tuned", output, "--intensity", "soft",
                      "-o", tmp_path / "mask.nii", "--report", report)  # fmt: skip
    assert code == 0 and any("[tuned-otherwise]" in line and "used with soft" in line for line in lines), lines
    told = [warning["message"] for warning in json.loads(report.read_text())["warnings"] if warning["code"] == "tuned-otherwise"]
    assert told == [soft]


def test_a_session_of_a_tuned_model_compares_the_intensity(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    output = tmp_path / "liver.safetensors"
    medsegx.tune(PHANTOM, PHANTOM_LABELS, output, label=1, task="CT_Liver", slices=[8], steps=1, validate="none", threads=2)
    tuned = medsegx.Model(tuned=output, threads=2)
    image = nibabel.load(PHANTOM)
    whole = tuned.segment(image, boxes=[22, 42, 10, 112, 109, 10], task="CT_Liver", intensity="soft")
    [soft] = [warning for warning in whole.warnings if warning.code == "tuned-otherwise"]
    assert "tuned with intensity minmax, used with soft" in soft.message
    raw = medsegx.Warning(soft.code, soft.message.replace("used with soft", "used with raw"))
    session, plane = tuned.session(), np.asarray(image.dataobj)[:, :, 10].T
    cases = [(plane, None, []), (plane, "soft", [soft]), (plane.astype(np.uint8), None, [raw]), (plane, "minmax", [])]
    for picture, rule, expected in cases:
        session.set_slice(picture, intensity=rule, task="CT_Liver")
        assert [warning for warning in session.warnings if warning.code == "tuned-otherwise"] == expected
    # Where a slice lies is not known: nothing is said of one across another axis.
    session.set_slice(np.asarray(image.dataobj)[60], task="CT_Liver")
    assert "tuned-otherwise" not in [warning.code for warning in session.warnings]


def test_a_session_says_what_looks_wrong_with_its_slice(model):
    session = model.session()
    assert session.warnings == []
    two = np.zeros((40, 30), np.float32)
    two[10:30, 8:20] = 1
    session.set_slice(two, task="CT_Liver")
    whole = model.segment(two, boxes=[8, 10, 0, 19, 29, 0], task="CT_Liver")
    assert [warning.code for warning in session.warnings] == ["few-levels"]
    assert session.warnings == [warning for warning in whole.warnings if warning.code == "few-levels"]
    with pytest.raises(medsegx.Error):
        session.set_slice(np.full((40, 30), np.nan, np.float32), task="CT_Liver")
    assert session.warnings == []


def test_an_unknown_part_to_train_is_refused(tmp_path):
    with pytest.raises(medsegx.ArgumentError, match="decoder, adapters or all"):
        medsegx.tune(PHANTOM, PHANTOM_LABELS, tmp_path / "x.safetensors", label=1, task="CT_Liver", train="encoder", slices=[8])


def test_the_awaitable_form_leaves_the_loop_free(model, small):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        one, other = await asyncio.gather(
            model.segment_async(small, affine=AFFINE, boxes=BOX, task="CT_Liver"),
            model.segment_async(small, affine=AFFINE, boxes=BOX, task="CT_Liver"),
        )
        ticking.cancel()
        return ticks, one, other

    ticks, one, other = asyncio.run(main())
    assert ticks > 3 and one.labels.any() and np.array_equal(one.labels, other.labels)


def test_a_cancelled_task_ends_its_run(model):
    volume = np.repeat(pattern((48, 48, 1)), 600, axis=2)
    reached = []

    async def main():
        loop = asyncio.get_running_loop()
        call = model.segment_async(volume, affine=AFFINE, boxes=[9, 9, 0, 38, 38, 599], task="CT_Liver",
                                   progress=lambda *now: (reached.append(now), loop.call_soon_threadsafe(began.set)))  # fmt: skip
        began = asyncio.Event()
        task = asyncio.create_task(call)
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        count = len(reached)
        await asyncio.sleep(0.2)
        return count

    assert asyncio.run(main()) == len(reached) and reached[-1][0] < 600
