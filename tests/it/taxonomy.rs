//! The embedded tree against the published one, and `medsegx tasks`.

use crate::common;

use std::process::{Command, Output};

use medsegx::taxonomy::{BODY_PARTS, MODALITIES, ORGANS, SUBREGIONS, TARGETS, UNSEEN_TASK};
use serde_json::Value;

#[test]
fn the_embedded_tree_is_the_published_one() {
    let Some(path) = common::shared("the tree against taxonomy.json", "spec/taxonomy.json") else { return };
    let tree: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let names = |level: &str| -> Vec<&str> {
        let nodes = tree[level].as_array().unwrap().iter().enumerate();
        nodes
            .map(|(index, node)| {
                assert_eq!(node["index"], index);
                node["name"].as_str().unwrap()
            })
            .collect()
    };
    assert_eq!(MODALITIES.each_ref().map(|modality| modality.name).to_vec(), names("modalities"));
    assert_eq!(BODY_PARTS.to_vec(), names("body_parts"));
    assert_eq!(SUBREGIONS.to_vec(), names("body_subregions"));
    assert_eq!(ORGANS.each_ref().map(|organ| organ.name).to_vec(), names("organs"));
    for (modality, node) in MODALITIES.iter().zip(tree["modalities"].as_array().unwrap()) {
        assert_eq!(node["aliases"], serde_json::json!(modality.aliases));
    }
    let mut listed = 0;
    for target in &TARGETS {
        let organ = &ORGANS[target.organ];
        for (level, index) in
            [("body_parts", organ.body_part), ("body_subregions", organ.subregion), ("organs", target.organ)]
        {
            let holds = |node: &&Value| node["targets"].as_array().unwrap().iter().any(|name| name == target.name);
            let nodes: Vec<&Value> =
                tree[level].as_array().unwrap().iter().filter(holds).map(|node| &node["index"]).collect();
            assert_eq!(nodes, [&Value::from(index)], "{} in {level}", target.name);
        }
        let task = tree["tasks"].as_array().unwrap().iter().position(|name| name == target.name);
        assert_eq!(target.task, task, "{}", target.name);
        listed += usize::from(task.is_some());
    }
    let total: usize =
        tree["organs"].as_array().unwrap().iter().map(|node| node["targets"].as_array().unwrap().len()).sum();
    assert_eq!((TARGETS.len(), listed), (total, tree["tasks"].as_array().unwrap().len()));
    assert_eq!(tree["unseen_task_index"], UNSEEN_TASK);
}

#[cfg(feature = "cli")]
fn tasks(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_medsegx")).arg("tasks").args(arguments).output().unwrap()
}

#[cfg(feature = "cli")]
#[test]
fn the_tree_can_be_searched() {
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    let liver = text(tasks(&["liver"]));
    assert!(liver.contains("body > abdomen > liver\n  Liver [59]\n") && liver.contains("HCC [111, unseen]"), "{liver}");
    assert!(!liver.contains("Spleen"), "{liver}");
    assert!(text(tasks(&[])).contains("Spleen"));
    let json: Value = serde_json::from_str(&text(tasks(&["CT_Spleen", "--json"]))).unwrap();
    assert_eq!(json["targets"].as_array().unwrap().len(), 1);
    assert_eq!(json["targets"][0]["rows"]["task"], 64);
    let none = tasks(&["livr"]);
    let message = String::from_utf8(none.stderr).unwrap();
    assert_eq!(none.status.code(), Some(2));
    assert!(message.contains("nearest is 'Liver'"), "{message}");
    assert_eq!(tasks(&["--wrong"]).status.code(), Some(2));
}
