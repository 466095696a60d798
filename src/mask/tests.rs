use super::*;
use crate::image::Runs;

const SIDE: usize = 16;

/// A map that is `inside` within an inclusive box and -5 elsewhere.
fn block([x0, y0, x1, y1]: [usize; 4], inside: f32) -> Vec<f32> {
    let within = |i: usize| (x0..=x1).contains(&(i % SIDE)) && (y0..=y1).contains(&(i / SIDE));
    (0..SIDE * SIDE).map(|i| if within(i) { inside } else { -5.0 }).collect()
}

fn candidates<'a>(logits: &'a [f32], prompt: Option<[f32; 4]>) -> Candidates<'a> {
    Candidates { logits, side: SIDE, first_token: 1, prompt, predicted_iou: &[] }
}

const PROMPT: [f32; 4] = [4.0, 4.0, 11.0, 11.0];

#[test]
fn box_agreement_by_hand() {
    let maps = [block([4, 4, 11, 11], 3.0), block([4, 4, 11, 7], 3.0), block([4, 4, 15, 11], 3.0)].concat();
    let measures = Measures::new(&candidates(&maps, Some(PROMPT)));
    assert_eq!(measures.masks.map(|mask| mask.area), [64, 32, 96, 0]);
    assert_eq!(measures.masks[2].tight_box, Some([4, 4, 15, 11]));
    let agreement = measures.masks.map(|mask| mask.box_agreement);
    let outside = 64.0 / 96.0;
    assert_eq!(agreement, [1.0, 0.5, outside * outside, 0.0]);
    assert_eq!(measures.dice[0][1], 2.0 * 32.0 / 96.0);
    assert_eq!(measures.dice[1][2], 2.0 * 32.0 / 128.0);
    assert_eq!(measures.consensus(0), (2.0 / 3.0 + 0.8) / 2.0);
    assert!((measures.agreement() - (2.0 / 3.0 + 0.8 + 0.5) / 3.0).abs() < 1e-15);
    let without = Measures::new(&candidates(&maps, None));
    assert_eq!(without.masks.map(|mask| mask.box_agreement), [1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn stability_counts_what_the_threshold_decides() {
    let mut map = block([0, 0, 3, 0], 3.0);
    map[4] = 0.5;
    map[5] = -0.5;
    map[6] = 1.0;
    map[7] = -1.0;
    let measure = Measures::new(&candidates(&map, None)).masks[0];
    assert_eq!((measure.area, measure.stability), (6, 4.0 / 7.0));
    let empty = Measures::new(&candidates(&vec![-5.0; SIDE * SIDE], None)).masks[0];
    assert_eq!((empty.area, empty.tight_box, empty.stability, empty.box_agreement), (0, None, 0.0, 0.0));
    let nan = Measures::new(&candidates(&vec![f32::NAN; SIDE * SIDE], Some(PROMPT))).masks[0];
    assert_eq!((nan.area, nan.stability, nan.box_agreement), (0, 0.0, 0.0));
}

#[test]
fn each_rule_has_its_own_winner() {
    // 0: right box, unstable. 1: half the box, stable, most like the others. 2: too large, fairly stable.
    let maps = [block([4, 4, 11, 11], 0.5), block([4, 4, 11, 9], 3.0), block([1, 1, 14, 14], 3.0)].concat();
    let mut given = candidates(&maps, Some(PROMPT));
    given.predicted_iou = &[0.1, 0.2, 0.9];
    let pick = |rule| choose(&given, MaskChoice::Auto, rule).chosen;
    assert_eq!(pick(Rule::BoxAgreement), 1);
    assert_eq!(pick(Rule::Stability), 2);
    assert_eq!(pick(Rule::Consensus), 1);
    assert_eq!(pick(Rule::Product), 2);
    assert_eq!(pick(Rule::PredictedIou), 3);
    assert_eq!(pick(Rule::Prior([0.1, 0.2, 0.7, 0.0])), 3);
    assert_eq!(choose(&given, MaskChoice::Fixed(3), Rule::BoxAgreement).index, 2);
    assert_eq!(choose(&given, MaskChoice::Fixed(0), Rule::BoxAgreement).index, 0);
    let choice = choose(&given, MaskChoice::Auto, Rule::BoxAgreement);
    assert_eq!(choice.scores, [1.0, 0.75, (64.0f64 / 196.0).powi(2), 0.0]);
}

#[test]
fn empty_masks_lose_and_ties_go_to_the_first() {
    let empty = vec![-5.0; SIDE * SIDE];
    let maps = [empty.clone(), block([0, 0, 0, 0], 0.1), block([0, 0, 0, 0], 0.1)].concat();
    let rules = [Rule::Consensus, Rule::Prior([1.0; 4])];
    for rule in rules {
        assert_eq!(choose(&candidates(&maps, Some(PROMPT)), MaskChoice::Auto, rule).index, 1, "{rule:?}");
    }
    let none = [empty.clone(), empty.clone(), empty].concat();
    let choice = choose(&candidates(&none, Some(PROMPT)), MaskChoice::Auto, Rule::Product);
    assert_eq!((choice.index, choice.measures.agreement()), (0, 1.0));
    let mut given = candidates(&maps, None);
    given.predicted_iou = &[f32::NAN, 0.3, 0.3];
    assert_eq!(choose(&given, MaskChoice::Auto, Rule::PredictedIou).index, 1);
}

#[test]
fn boxes_of_other_frames() {
    assert_eq!(box_of_logits([4.0, 8.0, 11.0, 12.0], 256, 256), [4.0, 8.0, 11.0, 12.0]);
    assert_eq!(box_of_logits([4.0, 8.0, 11.0, 15.0], 1024, 256), [1.0, 2.0, 2.0, 3.0]);
    let full = block([0, 0, 15, 15], 3.0);
    for odd in [[-1e9, -1e9, 1e9, 1e9], [f32::NAN; 4], [20.0, 20.0, 30.0, 30.0], [5.0, 5.0, 2.0, 2.0]] {
        let agreement = Measures::new(&candidates(&full, Some(odd))).masks[0].box_agreement;
        assert!((0.0..=1.0).contains(&agreement), "{odd:?}: {agreement}");
    }
}

#[test]
fn runs_keep_every_pixel() {
    let blocks = [[0, 0, 7, 7], [4, 0, 11, 7], [0, 3, 15, 3], [15, 15, 15, 15], [0, 0, 15, 15]];
    let mut maps: Vec<Vec<f32>> = blocks.map(|inside| block(inside, 1.0)).to_vec();
    maps.push((0..SIDE * SIDE).map(|i| if i * 7 % 5 < 2 { 1.0 } else { -1.0 }).collect());
    maps.push(vec![-1.0; SIDE * SIDE]);
    let inside = |map: &[f32]| map.iter().map(|&logit| logit > 0.0).collect::<Vec<bool>>();
    let runs = |map: &[f32]| Runs::new(&map.iter().map(|&logit| u8::from(logit > 0.0)).collect::<Vec<u8>>()).unwrap();
    for map in &maps {
        let runs_of_map = runs(map);
        let mut found = vec![false; SIDE * SIDE];
        runs_of_map.ranges().for_each(|run| found[run].fill(true));
        assert_eq!(found, inside(map));
        let area = found.iter().filter(|&&inside| inside).count();
        assert_eq!(runs_of_map.area() as usize, area);
        for other in &maps {
            let both = found.iter().zip(inside(other)).filter(|&(&a, b)| a && b).count() as f64;
            let areas = area + inside(other).iter().filter(|&&inside| inside).count();
            let expected = if areas == 0 { 1.0 } else { 2.0 * both / areas as f64 };
            assert_eq!(runs_of_map.dice(&runs(other)), expected);
        }
    }
}

/// The pass over all slices at once, which [`Chain`] has to equal: forward over all, then back from the best end.
fn at_once(
    scores: &[[f64; MOST_MASKS]],
    masks: usize,
    weight: f64,
    together: impl Fn(usize, usize, usize) -> f64,
) -> Vec<usize> {
    let highest = |values: &[f64]| (1..values.len()).fold(0, |best, m| if values[m] > values[best] { m } else { best });
    let Some(&first) = scores.first() else { return Vec::new() };
    let (mut best, mut from) = (first, vec![[0; MOST_MASKS]; scores.len()]);
    for (slice, score) in scores.iter().enumerate().skip(1) {
        let mut next = [0.0; MOST_MASKS];
        for b in 0..masks {
            let values: Vec<f64> = (0..masks).map(|a| best[a] + weight * together(slice, a, b)).collect();
            let a = highest(&values);
            (from[slice][b], next[b]) = (a, values[a] + score[b]);
        }
        best = next;
    }
    let mut chosen = vec![highest(&best[..masks]); scores.len()];
    for slice in (1..scores.len()).rev() {
        chosen[slice - 1] = from[slice][chosen[slice]];
    }
    chosen
}

/// What a chain decides, and after which slice each decision is there; it is closed before slices of `gaps`.
fn one_by_one(
    scores: &[[f64; MOST_MASKS]],
    masks: usize,
    weight: f64,
    gaps: &[usize],
    together: impl Fn(usize, usize, usize) -> f64,
) -> (Vec<usize>, Vec<usize>) {
    let (mut chain, mut decided, mut after) = (Chain::new(masks, weight), Vec::new(), Vec::new());
    for (slice, scores) in scores.iter().enumerate() {
        chain.push(scores, |a, b| together(slice, a, b), &mut decided);
        if gaps.contains(&(slice + 1)) {
            chain.close(&mut decided);
        }
        after.resize(decided.len(), slice);
    }
    chain.close(&mut decided);
    after.resize(decided.len(), scores.len());
    (decided, after)
}

#[test]
fn choices_that_come_one_by_one_are_those_of_all_slices_at_once() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let (mut early, mut count) = (0, 0);
    for case in 0..4000 {
        let (slices, masks) = (1 + random(40) as usize, 1 + random(4) as usize);
        // Few levels make many equals; many levels make roundings that must be the same.
        let levels = [2, 3, 1 << 20][case % 3];
        let weight = [0.0, 0.25, 1.0, 7.3][case / 3 % 4];
        let scores: Vec<[f64; MOST_MASKS]> =
            (0..slices).map(|_| std::array::from_fn(|_| random(levels) as f64 / levels as f64)).collect();
        let pairs: Vec<f64> = (0..slices * 16).map(|_| random(levels) as f64 / levels as f64).collect();
        let gaps: Vec<usize> = (1..slices).filter(|_| random(6) == 0).collect();
        let together = |s: usize, a: usize, b: usize| {
            // A mask that goes with itself alone keeps the ways apart.
            let itself = if case % 5 == 0 { 10.0 * f64::from(u8::from(a == b)) } else { 0.0 };
            if gaps.contains(&s) { 0.0 } else { pairs[s * 16 + a * 4 + b] + itself }
        };
        let expected = at_once(&scores, masks, weight, together);
        let (found, after) = one_by_one(&scores, masks, weight, &gaps, together);
        assert_eq!(found, expected, "case {case}");
        for gap in gaps {
            assert!(after[..gap].iter().all(|&slice| slice < gap), "case {case}: all before a gap is certain");
        }
        early += after.iter().enumerate().filter(|&(slice, &after)| after < slices - 1 && after < slice + 4).count();
        count += slices;
    }
    assert!(early > count / 2, "most choices come out soon: {early} of {count}");
}

#[test]
fn ways_that_never_meet_are_decided_at_the_end() {
    let scores: Vec<[f64; MOST_MASKS]> = (0..3000).map(|s| [0.5, 0.5, 0.5 + 1e-9 * f64::from(s % 7), 0.0]).collect();
    let apart = |_: usize, a: usize, b: usize| f64::from(u8::from(a == b));
    let (found, after) = one_by_one(&scores, 3, 0.25, &[], apart);
    assert_eq!(found, at_once(&scores, 3, 0.25, apart));
    assert!(found.iter().all(|&mask| mask == 2) && after.iter().all(|&slice| slice >= 2999), "nothing is guessed");
    // One slice whose masks all go best with the same one decides all before it.
    let joined = |s: usize, a: usize, b: usize| if s == 2000 { f64::from(u8::from(a == 1)) } else { apart(s, a, b) };
    let (found, after) = one_by_one(&scores, 3, 0.25, &[], joined);
    assert_eq!(found, at_once(&scores, 3, 0.25, joined));
    assert!(found[..2000].iter().all(|&mask| mask == 1) && after[..2000].iter().all(|&slice| slice == 2000));
}

#[test]
fn continuity_finds_the_best_chain() {
    let scores = [[0.9, 0.1, 0.5, 0.0], [0.5, 0.1, 0.6, 0.0], [0.9, 0.2, 0.5, 0.0], [0.1, 0.8, 0.1, 0.0]];
    let dice = |slice: usize, a: usize, b: usize| ((slice * 7 + a * 5 + b * 3) % 11) as f64 / 11.0;
    for weight in [0.0, 0.3, 1.0, 5.0] {
        let value = |path: &[usize]| {
            let own: f64 = path.iter().zip(&scores).map(|(&m, score)| score[m]).sum();
            own + weight * (1..path.len()).map(|s| dice(s, path[s - 1], path[s])).sum::<f64>()
        };
        let paths = (0..81).map(|code| [code / 27, code / 9 % 3, code / 3 % 3, code % 3]);
        let highest = paths.map(|path| value(&path)).fold(f64::MIN, f64::max);
        let (found, _) = one_by_one(&scores, 3, weight, &[], dice);
        assert!((value(&found) - highest).abs() < 1e-12, "weight {weight}: {found:?}");
    }
    assert_eq!(one_by_one(&scores, 3, 0.0, &[], dice).0, [0, 2, 0, 1]);
    assert_eq!(one_by_one(&[[0.0; 4]; 3], 3, 1.0, &[], |_, _, _| 0.0).0, [0, 0, 0]);
}

#[test]
fn judging_maps_tokens_and_frames() {
    let logits = vec![1.0; 3 * 256 * 256];
    let prompt = Some(box_of_logits([0.0, 0.0, 255.0, 255.0], 256, 256));
    let predicted = [0.9, 0.1, 0.2, 0.3];
    let three = Candidates { logits: &logits, side: 256, first_token: 1, prompt, predicted_iou: &predicted[1..] };
    let verdict = choose(&three, MaskChoice::Auto, Rule::of(Kind::MedSegX));
    assert_eq!((verdict.chosen, verdict.index, verdict.scores[0]), (1, 0, 0.0));
    assert_eq!(verdict.measures.masks[0].box_agreement, 1.0);
    let verdict = choose(&three, MaskChoice::Auto, Rule::of(Kind::Sam));
    assert_eq!((verdict.chosen, verdict.index), (3, 2));
    let single = Candidates { logits: &logits[..256 * 256], first_token: 0, predicted_iou: &predicted, ..three };
    let verdict = choose(&single, MaskChoice::Auto, Rule::of(Kind::Sam));
    assert_eq!((verdict.chosen, verdict.scores[0]), (0, f64::from(0.9f32)));
}
