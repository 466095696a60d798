#!/usr/bin/env python3
"""Plants faults in the ways back of tuning and asks that tests of single operations fail for each of them.

The faults are those of ../shared/oracle/tune/README.md, wherever the source has the operation. A copy of the tree below
target/planted gets all of them, each behind a number: one build, and a run of the tests for each number and for none.
Whether the golden gradients see a fault too is printed; they need not, since float32 is further off than some.

usage: tools/planted_gradients.py        needs cargo, and ../shared for the golden gradients
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Runs of the tests at once: most of one run is on one thread.
JOBS = 4
ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target/planted"
TRAINING, TUNE = "src/backend/cpu/training/", "src/tune/"
ROWS, MATRIX, LOSS = TRAINING + "rows.rs", TRAINING + "matrix.rs", TUNE + "loss.rs"
RELATIVE, EXPERTS = TRAINING + "relative.rs", TUNE + "encoder/experts.rs"


def before(file, text, code):
    return file, text, f"if PLANTED {{ {code} }}\n{text}"


def behind(file, text, code):
    return file, text, f"{text}\nif PLANTED {{ {code} }}"


def instead(file, expression, faulty):
    return file, expression, f"(if PLANTED {{ {faulty} }} else {{ {expression} }})"


def other(file, text, constant, faulty):
    """Another value of a constant in `text`."""
    return file, text, text.replace(constant, f"(if PLANTED {{ {faulty} }} else {{ {constant} }})")


GELU = "s.write_any(x, s.mul(at, below));"
SLOPE = "pub(super) fn slope<S: Simd>(s: S, x: S::V) -> S::V {"
TANH_SLOPE = behind(MATRIX, SLOPE, "return crate::backend::cpu::math::tanh_gelu(s, x, 1);")
TABLES = "for (axis, places) in keys.places.iter().enumerate() {"
BY_TABLES = "queries.by_rel.iter_mut().for_each(|by| by.iter_mut().for_each(|x| *x *= {}));"
AFFINE = "Affine { gain, bias, eps: EPS }"
SUMS = "let sums = sigmoid_sums(level, logits, label, p);"
SHARE = "let share = weight * (f64::from(u8::from(mask == least)) + mean_share / masks as f64);"
LABEL = "self.places.iter().zip(&resized)"

# Faults and their edits.
FAULTS = [
    ("exact GELU, tanh derivative: decoder, experts", [before(
        ROWS, GELU, "slope.iter_mut().zip(&*x).for_each(|(slope, &x)| *slope = crate::planted::tanh_gelu(x)[1]);")]),
    ("exact GELU, tanh derivative: MLP", [TANH_SLOPE]),
    ("tanh GELU both ways: decoder, experts", [(
        ROWS, GELU, "if PLANTED { for (x, slope) in x.iter_mut().zip(slope) { [*x, *slope] = "
        f"crate::planted::tanh_gelu(*x); }} }} else {{ {GELU} }}")]),
    ("tanh GELU both ways: MLP",
     [TANH_SLOPE, instead(MATRIX, "gelu(s, x)", "crate::backend::cpu::math::tanh_gelu(s, x, 0)")]),
    ("LayerNorm eps 1e-5: blocks", [other(TUNE + "encoder/block.rs", AFFINE, "EPS", "1e-5")]),
    ("LayerNorm eps 1e-5: neck", [other(TUNE + "encoder/neck.rs", AFFINE, "EPS", "1e-5")]),
    ("LayerNorm eps 1e-5: transposed convolutions", [other(
        TUNE + "upscaling.rs", 'Norm::new(table, &format!("{PATH}.{}", 3 * i + 1), EPS)', "EPS", "1e-5")]),
    ("LayerNorm eps 1e-6, not 1e-5: transformer", [
        other(TUNE + "decoder.rs", 'Norm::new(table, &format!("{path}.norm{n}"), EPS)', "EPS", "1e-6"),
        other(TUNE + "decoder.rs", 'Norm::new(table, &format!("{PATH}.norm_final_attn"), EPS)', "EPS", "1e-6")]),
    ("LayerNorm backward without the mean of dy: decoder",
     [instead(ROWS, "(dx[i] - mean - normed[i] * along)", "dx[i] - normed[i] * along")]),
    ("LayerNorm backward without the mean of dy: encoder",
     [instead(TRAINING + "frozen_norm.rs", "s.sub(by_normed, mean)", "by_normed")]),
    ("gate's token mean not differentiated", [instead(EXPERTS, "(d / tokens as f64) as f32", "0.0 * *d as f32")]),
    ("relative position's part of dq scaled by d^-1/2", [before(RELATIVE, TABLES, BY_TABLES.format("scale"))]),
    ("relative position's part of dq left out", [before(RELATIVE, TABLES, BY_TABLES.format("0.0"))]),
    ("padded keys left out of dq",
     [(RELATIVE, "if window.is_padded() {\n", "if window.is_padded() && !PLANTED {\n")]),
    ("smooth terms 1", [(
        LOSS, "(2.0 * sums.both + SMOOTH, inside + sums.squares + SMOOTH)", "{ let smooth = if PLANTED { 1.0 } else { "
        "SMOOTH }; (2.0 * sums.both + smooth, inside + sums.squares + smooth) }")]),
    ("Dice without squares", [
        (LOSS, SUMS, f"{SUMS}\nlet squares = p.iter().map(|&p| f64::from(p)).sum::<f64>();\nlet sums = crate::backend::cpu"
         "::training::LossSums { squares: if PLANTED { squares } else { sums.squares }, ..sums };"),
        other(LOSS, "(by_p * p - by_label * t)", " p ", "0.5")]),
    ("mean of three masks", [
        (LOSS, SHARE, f"{SHARE}\nlet share = if PLANTED {{ weight / masks as f64 }} else {{ share }};"),
        before(LOSS, "loss.chosen = if masks == 1", "loss.total = (0..masks).map(of).sum::<f64>() / masks as f64;")]),
    ("label one pixel off", [(
        TUNE + "examples.rs", LABEL, "self.places.iter().zip(resized.iter().cycle().skip(usize::from(PLANTED)))")]),
    ("adapter scale 0.101", [other(EXPERTS, text, "SCALE", "0.101") for text in (
        "(SCALE * weight as f32,", "*to = SCALE * weights[j / self.bottleneck]", "*d *= f64::from(SCALE)")]),
]

# Not an operation: golden gradients alone see it.
OF_SAMPLES = "label one pixel off"

# What the faults call.
HELPERS = [
    ("src/lib.rs", "mod memory;\n", "mod memory;\nmod planted;\n"),
    (TRAINING + "mod.rs", "sigmoid_sums};", "sigmoid_sums, LossSums};"),
    ("src/backend/cpu/math.rs", "/// Numbers that are summed one after the other", """
pub(super) fn tanh_gelu<S: Simd>(s: S, x: S::V, which: usize) -> S::V {
    let mut all = [0.0; super::simd::MAX_LANES];
    s.write(&mut all, x);
    all.iter_mut().for_each(|x| *x = crate::planted::tanh_gelu(*x)[which]);
    s.read(&all)
}

/// Numbers that are summed one after the other"""),
]
PLANTED = """
pub(crate) fn is(fault: usize) -> bool {
    static CHOSEN: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("PLANTED").unwrap().parse().unwrap()) == fault
}

/// The tanh form and its derivative.
pub(crate) fn tanh_gelu(x: f32) -> [f32; 2] {
    let k = (2.0 / std::f32::consts::PI).sqrt();
    let t = (k * (x + 0.044715 * x * x * x)).tanh();
    [0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * k * (1.0 + 3.0 * 0.044715 * x * x)]
}
"""
GOLDEN = """#[path = "common/mod.rs"]
mod common;
#[path = "it/tune.rs"]
mod tune;
#[path = "it/tune_all.rs"]
mod tune_all;
"""


def planted_sources():
    """Texts of the files that the faults change."""
    texts = {"src/planted.rs": PLANTED, "tests/planted.rs": GOLDEN}
    edits = [(edit, 0) for edit in HELPERS]
    edits += [(edit, number) for number, (_, edits) in enumerate(FAULTS, 1) for edit in edits]
    for (file, old, new), number in edits:
        text = texts.get(file) or (ROOT / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"{file} has {text.count(old)} times, not once: {old}")
        texts[file] = text.replace(old, new.replace("PLANTED", f"crate::planted::is({number})"))
    return texts


def copy_tree(texts):
    """What has not changed keeps its time, so that it is not built again."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    for name in [*listed.stdout.decode().splitlines(), *texts]:
        source, to = ROOT / name, PLACE / "tree" / name
        if name not in texts and not source.is_file():
            continue
        content = texts[name].encode() if name in texts else source.read_bytes()
        if not to.exists() or to.read_bytes() != content:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
    if not (PLACE / "shared").exists() and (ROOT / "../shared").exists():
        (PLACE / "shared").symlink_to((ROOT / "../shared").resolve())


def build():
    """Paths of the unit tests and of the golden ones."""
    command = ["cargo", "test", "--release", "--no-default-features", "--target-dir", PLACE / "target", "--no-run"]
    run = subprocess.run([*command, "--lib", "--test", "planted"], cwd=PLACE / "tree", stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.stderr[-4000:])
    return [PLACE / "tree" / path for path in re.findall(r"Executable .*\((.*)\)", run.stderr)]


def failures(number, *command):
    """Of each test that failed: its name, and the line that it said of a number above a limit, or its last one."""
    env = {**os.environ, "PLANTED": str(number), "RUST_BACKTRACE": "0"}
    run = subprocess.run(command, env=env, cwd=PLACE / "tree", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if "test result:" not in run.stdout or "running 0 tests" in run.stdout:
        sys.exit(run.stdout[-4000:])
    found = {}
    for name, said in re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^failures:)", run.stdout, re.S | re.M):
        lines = [line for line in said.splitlines() if line and not line.startswith("note: ")]
        above = [line for line in lines if " above " in line]
        found[name] = (above or lines or [""])[-1]
    return found


def cells(found):
    """The first test that failed with a number, the number and its limit."""
    if not found:
        return ["-", "-", "-"]
    name, said = next((pair for pair in found.items() if " above " in pair[1]), next(iter(found.items())))
    number = re.search(r"(\S+) above (\S+)", said)
    return [f"`{name.removeprefix('backend::cpu::')}`", *(number.groups() if number else [said[:60], ""])]


def main():
    copy_tree(planted_sources())
    alone, golden = build()

    def run(number):
        of_operations = failures(number, alone, "tune::", "training::")
        return of_operations, failures(number, golden, "gradients_of_every_trained_tensor")

    missed = []
    print("| fault | first test of a single operation that fails | off | limit | golden gradients off | limit |")
    print("|---|---|---|---|---|---|", flush=True)
    names = ["none", *(what for what, _ in FAULTS)]
    with ThreadPoolExecutor(JOBS) as pool:
        for what, (of_operations, of_all) in zip(names, pool.map(run, range(len(names)))):
            print("|", " | ".join([what, *cells(of_operations), *cells(of_all)[1:]]), "|", flush=True)
            seen = of_all if what in ("none", OF_SAMPLES) else of_operations
            if what == "none" and (seen or of_operations) or what != "none" and not seen:
                missed.append(what)
    if missed:
        sys.exit("tests do not see, or see without a fault: " + ", ".join(missed))


if __name__ == "__main__":
    main()
