//! Batches of a session on the CPU: what is placed, submitted and collected when.

use std::sync::Arc;

use medsegx::Error;
use medsegx::mask::{MaskChoice, Measures};
use medsegx::model::{Config, Preset};
use medsegx::segment::{
    Capacity, Device, Fetch, Model, ModelOptions, Picture, Point, Prompt, Segmenter, prompt_points,
};
use medsegx::taxonomy::Context;
use medsegx::weights::Weights;

const SIDE: usize = 40;

fn session(batch: usize) -> Segmenter {
    let weights = Weights::synthetic(&Config { image_size: 128, ..Preset::Tiny.medsegx() }, 3);
    let options = ModelOptions { device: Device::Cpu, ..ModelOptions::default() };
    let model = Arc::new(Model::load(&weights, &options).unwrap());
    Segmenter::new(&model, Capacity { batch, ..Capacity::default() }, MaskChoice::Auto).unwrap()
}

/// A slice in `slot`, and points of a box on it.
fn place(session: &mut Segmenter, slot: usize, slice: usize) -> medsegx::Result<Vec<Point>> {
    let pixels: Vec<u8> = (0..SIDE * SIDE).map(|at| (at * (slice + 3) % 251) as u8).collect();
    let picture = Picture { pixels: &pixels, height: SIDE, width: SIDE, channels: 1 };
    let frame = session.place(slot, &picture, Some(&Context { modality: 1, organ: [2, 3, 4], task: 5 }))?;
    let mut points = Vec::new();
    prompt_points(&frame, &[], Some([4.0, 5.0, 30.0, 33.0]), &mut points);
    Ok(points)
}

fn prompt(slot: usize, points: &[Point]) -> Prompt<'_> {
    Prompt { slot, points, mask: None }
}

fn refused<T>(result: medsegx::Result<T>) -> &'static str {
    match result {
        Err(Error::Argument { name, .. }) => name,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken"),
    }
}

#[test]
fn a_batch_bars_the_way_until_it_is_collected_or_given_up() {
    let mut session = session(1);
    let points = place(&mut session, 0, 1).unwrap();
    let expected = session.answer(&[prompt(0, &points)]).unwrap().logits(0).unwrap().to_vec();

    place(&mut session, 0, 1).unwrap();
    let ticket = session.submit(&[prompt(0, &points)], Fetch::OnDemand).unwrap();
    assert!(!session.takes(&[prompt(0, &points)]));
    assert_eq!(refused(session.submit(&[prompt(0, &points)], Fetch::OnDemand)), "batch");
    assert!(session.collect(ticket).unwrap().logits(0).unwrap() == expected);

    let lost = session.submit(&[prompt(0, &points)], Fetch::OnDemand).unwrap();
    assert!(session.answer(&[prompt(0, &points)]).unwrap().logits(0).unwrap() == expected);
    assert_eq!(refused(session.collect(lost).map(drop)), "ticket");
    assert!(session.takes(&[prompt(0, &points)]));
}

#[test]
fn slices_are_encoded_once_and_prompted_again() {
    let mut session = session(2);
    let points = [place(&mut session, 0, 1).unwrap(), place(&mut session, 1, 2).unwrap()];
    let prompts = [prompt(1, &points[1]), prompt(0, &points[0])];
    let mut both = session.answer(&prompts).unwrap();
    let (first, second) = (both.logits(1).unwrap().to_vec(), both.logits(0).unwrap().to_vec());
    assert!(first != second);
    let ticket = session.submit(&prompts[..1], Fetch::OnDemand).unwrap();
    assert!(ticket.encoding().is_zero(), "the encoder ran again");
    assert!(session.collect(ticket).unwrap().logits(0).unwrap() == second);

    // Slot 0 begins a new batch.
    place(&mut session, 0, 2).unwrap();
    assert_eq!(refused(session.answer(&prompts[..1]).map(drop)), "slot");
    assert!(session.answer(&[prompt(0, &points[0])]).unwrap().logits(0).unwrap() == second);
}

#[test]
fn slots_are_filled_one_after_another() {
    let mut session = session(2);
    assert_eq!(refused(place(&mut session, 1, 1)), "slot");
    assert_eq!(refused(session.place_again(1, 0, None)), "task");
    let context = Context { modality: 1, organ: [2, 3, 4], task: 6 };
    assert_eq!(refused(session.place_again(1, 0, Some(&context))), "slot");
    place(&mut session, 0, 1).unwrap();
    session.place_again(1, 0, Some(&context)).unwrap();
    assert_eq!(refused(place(&mut session, 2, 1)), "slot");
    session.encode().unwrap();
    assert_eq!(refused(place(&mut session, 1, 1)), "slot");
}

#[test]
fn answers_are_of_the_prompts_that_were_asked() {
    let mut session = session(2);
    let points = place(&mut session, 0, 1).unwrap();
    let both = session.answer(&[prompt(0, &points), prompt(0, &points)]).unwrap();
    assert!(both.verdict(1).measures != Measures::default(), "the case says something");
    let mut answers = session.answer(&[prompt(0, &points)]).unwrap();
    let mut mask = vec![0; SIDE * SIDE];
    assert_eq!(answers.tokens(), 1..4);
    answers.mask(0, 3, &mut mask).unwrap();
    for (index, token, pixels) in [(1, 1, SIDE * SIDE), (0, 0, SIDE * SIDE), (0, 4, SIDE * SIDE), (0, 1, SIDE)] {
        assert_eq!(refused(answers.mask(index, token, &mut mask[..pixels])), "mask", "{index}, {token}, {pixels}");
    }
    assert_eq!(refused(answers.logits(1).map(drop)), "prompt");
    // Nothing of the batch before.
    assert!([1, 7].iter().all(|&index| answers.verdict(index).measures == Measures::default()));
}
