//! `medsegx eval`: MedSegDB folders in, the published reports out, and a comparison with published tables.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use medsegx::atomic::write_atomically;
use medsegx::eval::expect::{Comparison, DSC_TOLERANCE, Expected, Outcome};
use medsegx::eval::report::{Published, Row, csv, markdown, markdown_of_choice, markdown_of_rules, means};
use medsegx::eval::{Scored, check_tasks, evaluate};
use medsegx::mask::MaskChoice;
use medsegx::medsegdb::{Set, walk};
use medsegx::segment::{Capacity, Model, Segmenter};

use super::console::plural;
use super::files::{Named, check_outputs};
use super::folder_layout::FolderLayout;
use super::interrupt::Interrupt;
use super::model_args::ModelArgs;
use super::progress::Progress;
use super::weights_source::WeightsSource;

/// Score a model on MedSegDB folders as published: DSC, HD95 and NSD of the best of its masks and of the mask it
/// chooses itself
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the set: DATASET/TASK/... (internal) or cross_site|cross_task/TASK/DATASET/... (external)
    root: PathBuf,
    /// How the folders lie
    #[arg(long)]
    layout: FolderLayout,
    /// Folder for the reports: NAME.md and NAME.csv as published, NAME-choice.md for the engine's own choice
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Published table to compare with, may be repeated; fails for a missing row or a DSC that differs by more than
    /// 0.005
    #[arg(long, value_name = "FILE.csv")]
    expect: Vec<PathBuf>,
    /// Replace existing reports
    #[arg(long)]
    force: bool,
    /// No progress bar, no summary
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<()> {
    let sets = walk(&args.root, args.layout.into())?;
    let expected = args.expect.iter().map(|path| Expected::read(path)).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot create", args.out.display()))?;
    let reports: Vec<PathBuf> = sets.iter().flat_map(|set| reports(&args.out, set)).collect();
    let writes: Vec<Named> = reports.iter().map(|path| ("--out", path.as_path())).collect();
    let tables = args.expect.iter().map(|path| ("--expect", path.as_path()));
    let reads: Vec<Named> = tables.chain(args.model.weights.iter().map(|path| ("--weights", path.as_path()))).collect();
    check_outputs(&reads, &writes, args.force)?;
    let scored = score(&args, &sets)?;
    for (set, scored) in sets.iter().zip(&scored).filter(|(_, scored)| !scored.rows.is_empty()) {
        write_reports(&args, set, scored)?;
    }
    if !args.quiet {
        summary(&sets, &scored)?;
    }
    let compared = compare(&expected, &sets, &scored);
    let failed: Vec<_> = scored.iter().flat_map(|scored| &scored.failed).collect();
    failed.iter().for_each(|error| super::console::say(&format!("medsegx: {error}")));
    if failed.is_empty() { compared } else { Err(NotAll(failed.len()).into()) }
}

/// Some pairs could not be scored; the reports have the others.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the pairs could not be scored; the reports have the others")]
pub struct NotAll(usize);

fn score(args: &Args, sets: &[Set]) -> anyhow::Result<Vec<Scored>> {
    let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = args.model.open(&source)?;
    let steered = weights.config().adapters.is_some();
    if steered {
        sets.iter().try_for_each(check_tasks)?;
    }
    let model = Arc::new(Model::load(&weights, &args.model.options())?);
    drop(weights);
    let total = sets.iter().map(|set| set.cases.len()).sum();
    let capacity = args.model.capacity(&model, Capacity::default(), MaskChoice::Auto, total)?;
    let mut segmenter = Segmenter::new(&model, capacity, MaskChoice::Auto)?;
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(total, "slices", args.quiet);
    segmenter.set_stop(Some(interrupt.flag()));
    let (mut scored, mut before) = (Vec::new(), 0);
    for set in sets {
        let mut watch = |done: usize| {
            progress.set(before + done);
            interrupt.check()
        };
        scored.push(evaluate(set, steered, &mut segmenter, &mut watch)?);
        before += set.cases.len();
    }
    progress.finish();
    Ok(scored)
}

/// The published two and the engine's own.
fn reports(folder: &Path, set: &Set) -> [PathBuf; 3] {
    [".md", ".csv", "-choice.md"].map(|suffix| folder.join(format!("{}{suffix}", set.name)))
}

fn write_reports(args: &Args, set: &Set, Scored { rows, empty, .. }: &Scored) -> anyhow::Result<()> {
    let mut choice = format!("{}\n{}", markdown_of_choice(&set.title, rows), markdown_of_rules(rows));
    if !empty.is_empty() {
        writeln!(choice, "\nLabels without foreground, which have no score: {}", empty.len())?;
        empty.iter().try_for_each(|file| writeln!(choice, "- {file}"))?;
    }
    let texts = [markdown(&set.title, rows), csv(rows), choice];
    for (path, text) in reports(&args.out, set).iter().zip(texts) {
        write_atomically(path, args.force, |file| std::io::Write::write_all(file, text.as_bytes()))?;
    }
    Ok(())
}

fn summary(sets: &[Set], scored: &[Scored]) -> anyhow::Result<()> {
    let mut text = String::new();
    for (set, scored) in sets.iter().zip(scored) {
        let rows: Vec<&Row> = scored.rows.iter().collect();
        let line = |[dsc, hd, nsd]: [f64; 3]| format!("DSC {dsc:.4}, HD95 {hd:.4}, NSD {nsd:.4}");
        writeln!(text, "{}: {}", set.name, plural(rows.len(), "slice"))?;
        if !rows.is_empty() {
            writeln!(text, "  best mask by the label: {}", line(means(&rows, Row::best)))?;
            writeln!(text, "  mask the engine chose:  {}", line(means(&rows, Row::chosen)))?;
        }
        if let Some(first) = scored.empty.first() {
            writeln!(text, "  no score for {} without foreground: {first}, ...", plural(scored.empty.len(), "label"))?;
        }
        if let Some(first) = set.unlabelled.first() {
            let pictures = plural(set.unlabelled.len(), "picture");
            writeln!(text, "  {pictures} without a label left out: {}, ...", first.display())?;
        }
    }
    super::console::print(&text)
}

/// Prints every published row beside the result and fails if one is missing or differs.
fn compare(expected: &[Expected], sets: &[Set], scored: &[Scored]) -> anyhow::Result<()> {
    let results: Vec<(&str, &[Row])> =
        sets.iter().zip(scored).map(|(set, scored)| (set.name.as_str(), scored.rows.as_slice())).collect();
    let compared: Vec<_> = expected.iter().map(|table| (table, table.compare(&results))).collect();
    super::console::print(&comparison(&compared)?)?;
    let rows = || compared.iter().flat_map(|(_, rows)| rows);
    match rows().filter(|row| row.fails).count() {
        0 => Ok(()),
        failed => {
            let all = rows().count();
            bail!("{failed} of {all} published rows are missing or differ by more than {DSC_TOLERANCE} in DSC")
        }
    }
}

/// The tables as text: what is published, and how far the result is from it.
fn comparison(tables: &[(&Expected, Vec<Comparison>)]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (table, rows) in tables {
        writeln!(text, "compared with {}:", table.path.display())?;
        writeln!(text, "        published DSC  difference  published HD  difference  slice")?;
        for row in rows {
            let Published { file, dsc, hd } = &row.published;
            let [by_dsc, by_hd] = match row.outcome {
                Outcome::Compared { dsc, hd } => [format!("{dsc:+.5}"), format!("{hd:+.5}")],
                Outcome::Missing => ["no result"; 2].map(String::from),
            };
            let verdict = row.verdict();
            writeln!(text, "  {verdict:5} {dsc:13.5}  {by_dsc:>10}  {hd:12.5}  {by_hd:>10}  {file}")?;
        }
        if rows.iter().any(|row| row.verdict() == "noted") {
            writeln!(text, "  noted: the published row came from code that was not published and does not count")?;
        }
    }
    Ok(text)
}
