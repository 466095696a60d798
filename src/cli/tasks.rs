//! `medsegx tasks`: MedSegDB's tree, searchable.

use medsegx::Error;
use medsegx::taxonomy::{BODY_PARTS, MODALITIES, ORGANS, SUBREGIONS, Target, UNSEEN_TASK, nearest_target, search};

/// List what MedSegX knows to segment: modalities, and targets by body part, subregion and organ
#[derive(clap::Args)]
pub struct Args {
    /// Show only what has this in its name or above it, for instance `liver` or `CT_Liver`
    query: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the tree or the part of it that was asked for.
pub fn run(args: Args) -> anyhow::Result<()> {
    let query = args.query.unwrap_or_default();
    let found = search(&query);
    if found.is_empty() {
        return Err(Error::Taxonomy { level: "target", suggestion: nearest_target(&query), name: query }.into());
    }
    super::console::print(&if args.json { json(&found)? } else { tree(&found) })
}

fn tree(found: &[&Target]) -> String {
    let mut text = String::from("modalities (--modality):\n");
    for modality in &MODALITIES {
        let aliases = match modality.aliases {
            [] => String::new(),
            aliases => format!(" (also {})", aliases.join(", ")),
        };
        text += &format!("  {}{aliases}\n", modality.name);
    }
    text += "\nbody part > subregion > organ (--body-part, --subregion, --organ):\n  target (--target) [row]\n";
    let mut last = None;
    for target in found {
        if last.replace(target.organ) != Some(target.organ) {
            let organ = &ORGANS[target.organ];
            text += &format!("{} > {} > {}\n", BODY_PARTS[organ.body_part], SUBREGIONS[organ.subregion], organ.name);
        }
        let row = target.task.map_or(format!("{UNSEEN_TASK}, unseen"), |task| task.to_string());
        text += &format!("  {} [{row}]\n", target.name);
    }
    text + "\nA task is modality_target, for instance CT_Liver; --target unseen takes the spare row.\n"
}

fn json(found: &[&Target]) -> anyhow::Result<String> {
    let target = |target: &&Target| {
        let organ = &ORGANS[target.organ];
        serde_json::json!({
            "target": target.name,
            "body_part": BODY_PARTS[organ.body_part],
            "subregion": SUBREGIONS[organ.subregion],
            "organ": organ.name,
            "rows": {
                "body_part": organ.body_part,
                "subregion": organ.subregion,
                "organ": target.organ,
                "task": target.task.unwrap_or(UNSEEN_TASK),
            },
            "unseen": target.task.is_none(),
        })
    };
    let modality = |(row, modality): (usize, &medsegx::taxonomy::Modality)| serde_json::json!({ "modality": modality.name, "aliases": modality.aliases, "row": row });
    let modalities: Vec<_> = MODALITIES.iter().enumerate().map(modality).collect();
    let targets: Vec<_> = found.iter().map(target).collect();
    Ok(serde_json::to_string_pretty(&serde_json::json!({ "modalities": modalities, "targets": targets }))? + "\n")
}
