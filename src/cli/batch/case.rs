//! One case of a batch: `medsegx segment` with the flags of its line.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, FromArgMatches as _};
use medsegx::{Error, Result};

use super::line::{Flags, Line};
use crate::cli::model_args::ModelArgs;
use crate::cli::segment;

/// Names of images end in one of these.
pub const IMAGES: [&str; 6] = [".nii.gz", ".nii", ".nrrd", ".mha", ".npy", ".png"];
/// Longer ones of masks first.
const ENDINGS: [&str; 10] =
    [".seg.nrrd", ".rtstruct.dcm", ".dcm", ".nii.gz", ".nii", ".nrrd", ".mha", ".npy", ".npz", ".png"];

/// Flags whose file belongs to the prompt: what is in it counts, not where it lies. Paths are those of the manifest.
const READS: [&str; 3] = ["--boxes", "--rough", "--tune-with"];
/// A UID, or the place of the series that a mask belongs to.
const SERIES: &str = "--series";
/// Flags whose file is an output; it lies below the folder of the results.
const WRITES: [&str; 4] = ["--logits", "--report", "--stats", "--preview"];
/// Flags that the batch gives to all cases, or that make no sense within one.
const OF_THE_BATCH: [&str; 13] = [
    "weights",
    "tuned",
    "no_mmap",
    "device",
    "threads",
    "level",
    "precision",
    "batch",
    "output",
    "force",
    "quiet",
    "verbose",
    "embeddings",
];

/// One case, its paths resolved.
#[derive(Clone, Debug)]
pub struct Case {
    /// The output without its ending: no two cases share it.
    pub name: String,
    /// Where it was asked for, for messages.
    pub place: String,
    pub image: PathBuf,
    /// Below the folder of the results, with `/`.
    pub output: String,
    /// Files that are read beside the image, with their flags.
    pub reads: Vec<(String, PathBuf)>,
    /// Files that are written beside the mask, below the folder of the results, with their flags.
    pub writes: Vec<(String, String)>,
    /// All other flags.
    pub settings: Vec<String>,
    /// Why it cannot be run.
    pub wrong: Option<String>,
}

/// A name and its ending, which is empty where it is none of a mask or image.
pub fn without_ending(name: &str) -> (&str, &'static str) {
    let lower = name.to_ascii_lowercase();
    match ENDINGS.iter().find(|end| lower.ends_with(*end)) {
        Some(end) => (&name[..name.len() - end.len()], end),
        None => (name, ""),
    }
}

/// The cases of `lines`, all with the flags `common` before their own.
///
/// # Errors
/// An output that lies elsewhere than below the results, or that two lines share.
pub fn cases(lines: Vec<Line>, common: &[String]) -> Result<Vec<Case>> {
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut cases = Vec::with_capacity(lines.len());
    for line in lines {
        let case = Case::new(line, common)?;
        for output in case.outputs() {
            if is_of_the_batch(output) {
                let found = format!("{output}, which the batch itself writes");
                return Err(of_another_name(&case, found));
            }
            // Some file systems do not tell capitals apart.
            if let Some(other) = taken.insert(output.to_lowercase(), case.place.clone()) {
                let found = format!("{output}, as {other}: give one of them another name in the column 'output'");
                return Err(of_another_name(&case, found));
            }
        }
        cases.push(case);
    }
    Ok(cases)
}

/// The tables and the page, of shards too.
fn is_of_the_batch(output: &str) -> bool {
    let name = output.to_lowercase();
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    let mine = |own: &str, ends: &[&str]| {
        (stem == own || stem.strip_prefix(own).is_some_and(|rest| rest.starts_with("-shard-"))) && ends.contains(&end)
    };
    mine("summary", &["csv", "jsonl"]) || mine("qc", &["html"])
}

fn of_another_name(case: &Case, found: String) -> Error {
    Error::Argument { name: "output", expected: format!("{}: a name of its own", case.place), found }
}

/// Whether `--series` of a case names a series that lies there, and not one of the series of its image.
fn is_series_of_mask(image: &Path, series: &Path) -> bool {
    #[cfg(feature = "dicom")]
    return series.exists() && !medsegx::dicom::is_input(image);
    #[cfg(not(feature = "dicom"))]
    return false;
}

impl Case {
    fn new(line: Line, common: &[String]) -> Result<Case> {
        let Line { place, base, image, boxes, rough, task, output, flags } = line;
        let file = image.trim_end_matches('/').rsplit('/').next().unwrap_or(&image);
        let (stem, ending) = without_ending(file);
        let own = || format!("{stem}{}", if matches!(ending, ".npy" | ".png") { ending } else { ".nii.gz" });
        let output = below(&output.unwrap_or_else(own), &place)?;
        let name = without_ending(&output).0.to_string();
        let folder = Path::new(&image).parent().map_or_else(String::new, |folder| folder.display().to_string());
        let fill = |word: &String| {
            word.replace("{case}", &name)
                .replace("{image}", stem)
                .replace("{folder}", if folder.is_empty() { "." } else { &folder })
        };
        let mut words: Vec<String> = common.iter().map(fill).collect();
        let mut wrong = None;
        for (flag, value) in [("--task", task), ("--boxes", boxes), ("--rough", rough)] {
            words.extend(value.into_iter().flat_map(|value| [flag.to_string(), value]));
        }
        match flags {
            Flags::Words(more) => words.extend(more.iter().map(fill)),
            Flags::Text(text) => match shlex::split(&text) {
                Some(more) => words.extend(more.iter().map(fill)),
                None => {
                    wrong = Some(format!("flags: got a quote that does not end: {text}; needs words as in a shell"))
                }
            },
        }
        let image = base.join(&image);
        let mut case = Case { name, place, image, output, reads: vec![], writes: vec![], settings: vec![], wrong };
        case.sort_out(words, &base)?;
        Ok(case)
    }

    /// Tells files from settings.
    fn sort_out(&mut self, words: Vec<String>, base: &Path) -> Result<()> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_string(), Some(value.to_string())),
                _ => (word.clone(), None),
            };
            let is = |flags: &[&str]| flags.contains(&flag.as_str());
            if flag == SERIES {
                match value.or_else(|| words.next()) {
                    Some(value) if is_series_of_mask(&self.image, &base.join(&value)) => {
                        self.reads.push((flag, base.join(value)));
                    }
                    Some(value) => self.settings.push(format!("{flag}={value}")),
                    None => self.settings.push(word),
                }
                continue;
            }
            if !is(&READS) && !is(&WRITES) {
                self.settings.push(word);
                continue;
            }
            match value.or_else(|| words.next()) {
                Some(value) if is(&READS) => self.reads.push((flag, base.join(value))),
                Some(value) => {
                    let value = below(&value, &self.place)?;
                    self.writes.push((flag, value));
                }
                None => self.settings.push(word),
            }
        }
        Ok(())
    }

    /// All files that it makes, below the folder of the results; the mask first.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.output.as_str()).chain(self.writes.iter().map(|(_, path)| path.as_str()))
    }

    /// The arguments of `medsegx segment`.
    ///
    /// # Errors
    /// What the command line says to them, in one line.
    pub fn arguments(&self, out: &Path, model: &ModelArgs) -> Result<segment::Args> {
        let refused = |text: String| Error::Argument {
            name: "flags",
            expected: "those of `medsegx segment`".into(),
            found: text,
        };
        if let Some(wrong) = &self.wrong {
            return Err(refused(wrong.clone()));
        }
        let path = |path: &Path| path.as_os_str().to_os_string();
        let mut words = vec!["segment".into(), "--output".into(), path(&out.join(&self.output))];
        words.extend(self.settings.iter().map(Into::into));
        self.reads.iter().for_each(|(flag, file)| words.extend([flag.into(), path(file)]));
        self.writes.iter().for_each(|(flag, file)| words.extend([flag.into(), path(&out.join(file))]));
        words.extend(["--".into(), path(&self.image)]);
        // A flag of the line takes the place of the same one that all cases have.
        let command = segment::Args::augment_args(clap::Command::new("segment")).args_override_self(true);
        let in_a_line = |error: clap::Error| {
            let text = error.render().to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
            refused(first.trim_start_matches("error: ").to_string())
        };
        let matches = command.try_get_matches_from(words).map_err(in_a_line)?;
        if let Some(id) = OF_THE_BATCH.iter().find(|id| **id != "output" && is_typed(&matches, id)) {
            return Err(refused(format!(
                "--{}, which {}",
                id.replace('_', "-"),
                if matches!(*id, "embeddings" | "verbose") {
                    "a batch does not take"
                } else {
                    "belongs before the cases: it is one for all"
                }
            )));
        }
        let mut args = segment::Args::from_arg_matches(&matches).map_err(in_a_line)?;
        if args.output != out.join(&self.output) {
            return Err(refused("--output, which is the column 'output'".into()));
        }
        args.model = model.clone();
        args.quiet = true;
        args.force = true;
        Ok(args)
    }
}

fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// A path below the folder of the results, with `/`.
fn below(path: &str, place: &str) -> Result<String> {
    let plain = |part: Component| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    };
    let parts: Option<Vec<String>> =
        Path::new(path).components().filter(|part| *part != Component::CurDir).map(plain).collect();
    match parts {
        Some(parts) if !parts.is_empty() && !parts.iter().any(|part| part.starts_with(".medsegx")) => {
            Ok(parts.join("/"))
        }
        _ => {
            let found = format!("'{}'", path.escape_debug());
            Err(Error::Argument { name: "output", expected: format!("{place}: a path below --out"), found })
        }
    }
}

/// A path as JSON can hold it.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(image: &str, output: Option<&str>, flags: &str) -> Line {
        let output = output.map(String::from);
        Line { image: image.into(), output, flags: Flags::Text(flags.into()), base: "/data".into(), ..Line::default() }
    }

    #[test]
    fn files_are_told_from_settings_and_placeholders_filled() {
        let flags = "--boxes={image}.json --intensity 'soft' --report {case}-r.json";
        let case =
            &cases(vec![line("in/a.nii.gz", Some("x/b.nrrd"), flags)], &["--axis".into(), "j".into()]).unwrap()[0];
        assert_eq!(case.name, "x/b");
        assert_eq!(case.reads, [("--boxes".to_string(), PathBuf::from("/data/a.json"))]);
        assert_eq!(case.writes, [("--report".to_string(), "x/b-r.json".to_string())]);
        assert_eq!(case.settings, ["--axis", "j", "--intensity", "soft"]);
        assert_eq!(case.image, Path::new("/data/in/a.nii.gz"));
    }

    #[test]
    fn an_output_is_below_the_results_and_of_one_case() {
        for output in ["../b.nii", "/b.nii", "", ".", ".medsegx/x.nii", "a/../../b.nii"] {
            assert!(cases(vec![line("a.nii", Some(output), "")], &[]).is_err(), "{output}");
        }
        let twice = cases(vec![line("p/a.nii", None, ""), line("q/A.nii.gz", None, "")], &[]).unwrap_err();
        assert!(twice.to_string().contains("column 'output'"), "{twice}");
    }
}
