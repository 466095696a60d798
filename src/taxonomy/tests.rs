use super::*;

fn query(task: &str) -> Query {
    Query { task: Some(task.into()), ..Query::default() }
}

fn row(modality: &str, target: &str) -> Context {
    let target = TARGETS.iter().find(|t| t.name == target).unwrap();
    let organ = &ORGANS[target.organ];
    Context {
        modality: MODALITIES.iter().position(|m| m.name == modality).unwrap(),
        organ: [organ.body_part, organ.subregion, target.organ],
        task: target.task.unwrap_or(UNSEEN_TASK),
    }
}

#[test]
fn task_names_are_forgiving() {
    assert_eq!(row("CT", "Liver"), Context { modality: 2, organ: [1, 4, 17], task: 59 });
    for (task, modality, target) in [
        ("CT_Liver", "CT", "Liver"),
        ("ct_liver", "CT", "Liver"),
        ("CTLiver", "CT", "Liver"),
        ("ct-left_kidney", "CT", "LeftKidney"),
        ("CT_ThoracicSpine7", "CT", "ThoracicSpine"),
        ("CT_Lumbar_Spine_12", "CT", "LumbarSpine"),
        ("Dermoscopy_Skin", "Dermos", "Skin"),
        ("xray_COVID19", "Xray", "COVID"),
        ("XRAY_covid", "Xray", "COVID"),
        ("Colon_Polyp", "Colonos", "Polyp"),
        ("CT_Colon", "CT", "Colon"),
        ("CTA_Aorta", "CTA", "Aorta"),
        ("CTAAorta", "CTA", "Aorta"),
        ("Endoscope_Instrument", "Endos", "Instrument"),
        ("MRI_ProstatePeripheralZone", "MRI", "ProstatePeripheralZone"),
    ] {
        assert_eq!(resolve(&query(task)).unwrap(), row(modality, target), "{task}");
    }
}

#[test]
fn targets_outside_the_task_list_use_the_spare_row() {
    for name in ["InterstitialThickening", "PulmonaryLibrosis", "StomachCancer", "FNH", "HCC", "Hemangioma", "ICC"] {
        let context = resolve(&query(&format!("CT_{name}"))).unwrap();
        assert_eq!(context.task, UNSEEN_TASK, "{name}");
        assert_eq!(context.names().task, "unseen");
    }
    assert_eq!(resolve(&query("CT_HCC")).unwrap().names().organ, "liver");
    let spare = Query { target: Some("UnSeen".into()), ..query("CT_Liver") };
    assert_eq!(resolve(&spare).unwrap(), Context { task: UNSEEN_TASK, ..row("CT", "Liver") });
}

#[test]
fn flags_override_their_own_level() {
    let all = Query {
        task: Some("CT_Liver".into()),
        modality: Some("mri".into()),
        body_part: Some("HEAD&NECK".into()),
        subregion: Some("face".into()),
        organ: Some("Thoracic_Spine".into()),
        target: Some("left kidney".into()),
    };
    let Context { modality, organ, task } = resolve(&all).unwrap();
    assert_eq!((modality, organ, task), (7, [0, 1, 30], row("CT", "LeftKidney").task));
    let some = Query { organ: Some("kidney".into()), ..query("CT_Liver") };
    assert_eq!(resolve(&some).unwrap(), Context { organ: [1, 4, 21], ..row("CT", "Liver") });
    let target = Query { modality: Some("CT".into()), target: Some("Spleen".into()), ..Query::default() };
    assert_eq!(resolve(&target).unwrap(), row("CT", "Spleen"));
    let bare = Query { modality: Some("CT".into()), ..query("colon") };
    assert_eq!(resolve(&bare).unwrap(), row("CT", "Colon"));
}

#[test]
fn an_unknown_target_needs_every_level() {
    let levels = Query {
        body_part: Some("body".into()),
        subregion: Some("chest".into()),
        organ: Some("lung".into()),
        ..query("CT_Thymoma")
    };
    assert_eq!(resolve(&levels).unwrap(), Context { modality: 2, organ: [1, 3, 12], task: UNSEEN_TASK });
    let flags = Query { task: None, modality: Some("CT".into()), ..levels.clone() };
    assert_eq!(resolve(&flags).unwrap(), resolve(&levels).unwrap());
    for missing in ["body_part", "subregion", "organ"] {
        let mut query = levels.clone();
        match missing {
            "body_part" => query.body_part = None,
            "subregion" => query.subregion = None,
            _ => query.organ = None,
        }
        assert!(matches!(resolve(&query), Err(Error::Taxonomy { level: "target", .. })), "{missing}");
        query.task = None;
        query.modality = Some("CT".into());
        // Without a task an organ that the tree has once says where it lies.
        match missing {
            "organ" => assert!(matches!(resolve(&query), Err(Error::Argument { name: "organ", .. })), "{missing}"),
            _ => assert_eq!(resolve(&query).unwrap(), resolve(&flags).unwrap(), "{missing}"),
        }
    }
    assert!(matches!(resolve(&Query::default()), Err(Error::Argument { name: "modality", .. })));
}

#[test]
fn wrong_names_suggest_the_nearest() {
    let messages = [
        (query("CT_Livr"), "target 'Livr' is not in the task tree; nearest is 'Liver'"),
        (query("CT_Kidney"), "target 'Kidney' is not in the task tree; nearest is 'LeftKidney'"),
        (query("CTT_Liver"), "modality 'CTT' is not in the task tree; nearest is 'CT'"),
        (query("Liver"), "task: got 'Liver'; needs modality_target, for example CT_Liver, or a modality beside it"),
        (
            Query { modality: Some("CT".into()), organ: Some("kidny".into()), ..Query::default() },
            "organ 'kidny' is not in the task tree; nearest is 'kidney'",
        ),
        (
            Query { organ: Some("kidny".into()), ..query("CT_Liver") },
            "organ 'kidny' is not in the task tree; nearest is 'kidney'",
        ),
        (
            Query { target: Some("spleeen".into()), ..query("CT_Liver") },
            "target 'spleeen' is not in the task tree; nearest is 'Spleen'",
        ),
        (
            Query { subregion: Some("chst".into()), ..query("CT_Liver") },
            "subregion 'chst' is not in the task tree; nearest is 'chest'",
        ),
        (
            Query { modality: Some("dermoscop".into()), ..query("CT_Liver") },
            "modality 'dermoscop' is not in the task tree; nearest is 'Dermoscopy'",
        ),
    ];
    for (query, message) in messages {
        assert_eq!(resolve(&query).unwrap_err().to_string(), message);
    }
    let long = resolve(&query(&format!("CT_{}", "x".repeat(1 << 20)))).unwrap_err().to_string();
    assert!(long.len() < 200 && !long.contains("nearest"), "{long}");
    for odd in ["", "_", "CT", "CT_", "CT_7", "é_ß", "\0"] {
        assert!(resolve(&query(odd)).is_err(), "{odd:?}");
    }
}

#[test]
fn search_looks_at_every_level() {
    let names = |text| search(text).iter().map(|target| target.name).collect::<Vec<_>>();
    assert_eq!(names("liver"), ["Liver", "LiverCancer", "FNH", "HCC", "Hemangioma", "ICC"]);
    assert_eq!(names("ct_spleen"), ["Spleen"]);
    assert_eq!(names("").len(), 118);
    assert!(names("xyzzy").is_empty());
}

#[test]
fn every_row_of_every_table_is_used_once() {
    let mut tasks: Vec<usize> = TARGETS.iter().filter_map(|target| target.task).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, (0..UNSEEN_TASK).collect::<Vec<_>>());
    for index in 0..ORGANS.len() {
        assert!(TARGETS.iter().any(|target| target.organ == index), "organ {index}");
    }
}

#[test]
fn a_header_contradicts_a_task_of_another_modality_alone() {
    let of = |modality: &str, dicom: &str| {
        let index = MODALITIES.iter().position(|m| m.name == modality).unwrap();
        Context { modality: index, ..row("CT", "Liver") }.contradicts(dicom).is_some()
    };
    for (modality, dicom) in
        [("CT", "CT"), ("CTA", "CT"), ("CBCT", "CT"), ("MRI", "MR"), ("Xray", "DX"), ("CT", "PT"), ("CT", "")]
    {
        assert!(!of(modality, dicom), "{modality}, {dicom}");
    }
    for (modality, dicom) in
        [("CT", "MR"), ("MRI", "CT"), ("US", "CT"), ("Xray", "CT"), ("CT", "CR"), ("Colonos", "US")]
    {
        assert!(of(modality, dicom), "{modality}, {dicom}");
    }
}
