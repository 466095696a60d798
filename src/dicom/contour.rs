//! Outlines of masks, and masks of outlines, in columns and rows of a slice: the centre of the first pixel is 0, 0.
//!
//! An outline runs a quarter of a pixel inside the mask, around a hole a quarter inside it too: whether a reader fills
//! pixels by their centres, draws edges in, or rounds corners, the mask is the same. A hole is joined to its outline by
//! a slit (keyhole), since readers differ in what contours within each other mean.

/// How far an outline runs inside the mask.
const INSET: f64 = 0.25;
/// Where a slit runs beside the centres of its row: off them, and off all corners.
const SLIT: f64 = 0.125;

pub type Point = [f64; 2];

/// Where edges lead: east, south, west, north, the mask on their right.
const STEPS: [[isize; 2]; 4] = [[1, 0], [0, 1], [-1, 0], [0, -1]];
/// The pixel of the mask beside an edge from a corner, as an offset from the corner.
const BESIDE: [[isize; 2]; 4] = [[0, 0], [-1, 0], [-1, -1], [0, -1]];
/// From an edge into the mask.
const INWARD: [[f64; 2]; 4] = [[0.0, INSET], [-INSET, 0.0], [0.0, -INSET], [INSET, 0.0]];

/// One closed outline for each piece (4 neighbours) of `inside`, `rows` of `columns`.
pub fn outlines(inside: &[bool], columns: usize, rows: usize) -> Vec<Vec<Point>> {
    let pieces = pieces(inside, columns, rows);
    let mut outer: Vec<(usize, Vec<Point>)> = Vec::new();
    let mut holes: Vec<(usize, Vec<Point>)> = Vec::new();
    for (piece, ring) in rings(inside, columns, rows, &pieces) {
        if area(&ring) > 0.0 { outer.push((piece, ring)) } else { holes.push((piece, ring)) }
    }
    // From the left: what a slit to the left meets is joined already.
    holes.sort_by(|a, b| leftmost(&a.1).total_cmp(&leftmost(&b.1)));
    for (piece, hole) in holes {
        if let Some((_, ring)) = outer.iter_mut().find(|(of, _)| *of == piece) {
            join(ring, &hole);
        }
    }
    outer.into_iter().map(|(_, ring)| ring).collect()
}

/// The piece of each pixel, from 1; 0 outside.
fn pieces(inside: &[bool], columns: usize, rows: usize) -> Vec<usize> {
    let (mut piece, mut count, mut open) = (vec![0; inside.len()], 0, Vec::new());
    for start in 0..inside.len() {
        if !inside[start] || piece[start] != 0 {
            continue;
        }
        count += 1;
        piece[start] = count;
        open.push(start);
        while let Some(at) = open.pop() {
            let (x, y) = (at % columns, at / columns);
            let near = [
                (x > 0).then(|| at - 1),
                (x + 1 < columns).then(|| at + 1),
                (y > 0).then(|| at - columns),
                (y + 1 < rows).then(|| at + columns),
            ];
            for next in near.into_iter().flatten() {
                if inside[next] && piece[next] == 0 {
                    piece[next] = count;
                    open.push(next);
                }
            }
        }
    }
    piece
}

/// All closed borders, each with its piece.
fn rings(inside: &[bool], columns: usize, rows: usize, pieces: &[usize]) -> Vec<(usize, Vec<Point>)> {
    let holds = |x: isize, y: isize| {
        let within = (0..columns as isize).contains(&x) && (0..rows as isize).contains(&y);
        within && inside[y as usize * columns + x as usize]
    };
    // A bit for each edge that leaves a corner and is not walked yet.
    let width = columns + 1;
    let mut leaving = vec![0_u8; width * (rows + 1)];
    let mut starts = Vec::new();
    for y in 0..rows as isize {
        for x in (0..columns as isize).filter(|&x| holds(x, y)) {
            let sides = [
                ([x, y - 1], [x, y]),
                ([x + 1, y], [x + 1, y]),
                ([x, y + 1], [x + 1, y + 1]),
                ([x - 1, y], [x, y + 1]),
            ];
            for (direction, (neighbour, corner)) in sides.into_iter().enumerate() {
                if !holds(neighbour[0], neighbour[1]) {
                    let at = corner[1] as usize * width + corner[0] as usize;
                    leaving[at] |= 1 << direction;
                    starts.push((at, direction));
                }
            }
        }
    }
    let mut found = Vec::new();
    for (start, first) in starts {
        if leaving[start] >> first & 1 == 0 {
            continue;
        }
        let (mut at, mut direction, mut ring) = ([start % width, start / width], first, Vec::new());
        let [x, y] = at.map(|n| n as isize);
        let piece = pieces[(y + BESIDE[first][1]) as usize * columns + (x + BESIDE[first][0]) as usize];
        loop {
            leaving[at[1] * width + at[0]] &= !(1 << direction);
            at = [0, 1].map(|axis| at[axis].wrapping_add_signed(STEPS[direction][axis]));
            let open = leaving[at[1] * width + at[0]];
            // To the right first: where two pixels touch at a corner, the border stays with its own.
            let next = [1, 0, 3].map(|turn| (direction + turn) % 4).into_iter().find(|&d| open >> d & 1 == 1);
            let to = next.unwrap_or(first);
            if to != direction {
                let corner = [0, 1].map(|axis| at[axis] as f64 - 0.5 + INWARD[direction][axis] + INWARD[to][axis]);
                ring.push(corner);
            }
            direction = to;
            if next.is_none() {
                break;
            }
        }
        found.push((piece, ring));
    }
    found
}

/// Twice the area, positive where the ring runs around its inside.
fn area(ring: &[Point]) -> f64 {
    edges(ring).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum()
}

fn edges(ring: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    (0..ring.len()).map(|at| (ring[at], ring[(at + 1) % ring.len()]))
}

fn leftmost(ring: &[Point]) -> f64 {
    ring.iter().map(|p| p[0]).fold(f64::INFINITY, f64::min)
}

/// Joins a hole to the ring around it by a slit from its leftmost side to the left.
fn join(ring: &mut Vec<Point>, hole: &[Point]) {
    let x = leftmost(hole);
    let Some((side, (a, b))) = edges(hole).enumerate().find(|(_, (a, b))| a[0] == x && b[0] == x) else { return };
    let y = ((a[1] + b[1]) / 2.0).round() + SLIT;
    let crosses = |(a, b): &(Point, Point)| a[0] == b[0] && a[0] < x && (a[1] - y) * (b[1] - y) < 0.0;
    let nearest =
        edges(ring).enumerate().filter(|(_, edge)| crosses(edge)).max_by(|a, b| a.1.0[0].total_cmp(&b.1.0[0]));
    let Some((at, (met, _))) = nearest else { return };
    let (hit, start) = ([met[0], y], [x, y]);
    let around = (1..=hole.len()).map(|step| hole[(side + step) % hole.len()]);
    let slit: Vec<Point> = [hit, start].into_iter().chain(around).chain([start, hit]).collect();
    ring.splice(at + 1..at + 1, slit);
}

/// Turns the pixels over whose centres lie inside a closed outline: what an odd number of outlines hold is inside.
pub fn flip(inside: &mut [bool], columns: usize, rows: usize, outline: &[Point]) {
    if outline.len() < 3 {
        return;
    }
    let span =
        outline.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], p| [low.min(p[1]), high.max(p[1])]);
    let first = span[0].ceil().max(0.0) as usize;
    let last = span[1].floor().min(rows as f64 - 1.0);
    if last < 0.0 || span[0] > span[1] {
        return;
    }
    let mut crossings = Vec::new();
    for row in first..=last as usize {
        let y = row as f64;
        crossings.clear();
        for (a, b) in edges(outline) {
            // Half-open, so that a corner on the row counts once.
            if (a[1] <= y) != (b[1] <= y) {
                crossings.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
            }
        }
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let from = pair[0].ceil().clamp(0.0, columns as f64) as usize;
            let to = pair[1].ceil().clamp(0.0, columns as f64) as usize;
            inside[row * columns + from..row * columns + to.max(from)].iter_mut().for_each(|pixel| *pixel = !*pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of `#` in rows of text.
    fn mask(rows: &[&str]) -> (Vec<bool>, usize, usize) {
        (rows.concat().chars().map(|c| c == '#').collect(), rows[0].len(), rows.len())
    }

    fn back(outlines: &[Vec<Point>], columns: usize, rows: usize) -> Vec<bool> {
        let mut inside = vec![false; columns * rows];
        outlines.iter().for_each(|outline| flip(&mut inside, columns, rows, outline));
        inside
    }

    #[test]
    fn outlines_run_a_quarter_inside() {
        let (inside, columns, rows) = mask(&["....", ".##.", "...."]);
        let found = outlines(&inside, columns, rows);
        assert_eq!(found, [vec![[2.25, 0.75], [2.25, 1.25], [0.75, 1.25], [0.75, 0.75]]]);
    }

    #[test]
    fn pieces_holes_and_corners_come_back() {
        for (rows, count) in [
            (&["#"][..], 1),
            (&["#.#", ".#.", "#.#"], 5),
            (&["###", "#.#", "###"], 1),
            (&["#######", "#.#.#.#", "#######", "#..##.#", "#######"], 1),
            (&["#####", "#...#", "#.#.#", "#...#", "#####"], 2),
            (&["####.", "#..##", "#.#.#", "##..#", ".####"], 2),
        ] {
            let (inside, columns, rows) = mask(rows);
            let found = outlines(&inside, columns, rows);
            assert_eq!(found.len(), count, "{inside:?}");
            assert_eq!(back(&found, columns, rows), inside);
            assert!(found.iter().all(|outline| outline.len() >= 4));
        }
    }

    #[test]
    fn random_masks_come_back() {
        let mut state = 7_u64;
        for round in 0..60 {
            let (columns, rows) = (3 + round % 11, 2 + round % 7);
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 33
            };
            let inside: Vec<bool> = (0..columns * rows).map(|_| next() % 100 < 30 + round as u64).collect();
            assert_eq!(back(&outlines(&inside, columns, rows), columns, rows), inside, "{round}");
        }
    }
}
