//! Exact Euclidean distance transform, two passes of integer arithmetic: O(H W) (Meijster, Roerdink and Hesselink, 2000).

/// Squared distance from each pixel of a `[height, width]` grid to the nearest pixel where `feature` is true; `None`
/// when there is no such pixel. Row-major, `feature.len() == width * height`, and no pixel for a grid without area.
pub fn squared_distances(feature: &[bool], width: usize, height: usize) -> Option<Vec<u64>> {
    debug_assert_eq!(feature.len(), width * height);
    if !feature.contains(&true) {
        return None;
    }
    let far = (width + height) as i64;
    let columns = vertical(feature, width, height, far);
    let mut squared = Vec::with_capacity(feature.len());
    let mut envelope = Vec::with_capacity(width);
    for row in columns.chunks_exact(width) {
        lower_envelope(row, &mut envelope);
        read_envelope(row, &envelope, &mut squared);
    }
    Some(squared)
}

/// Distance of each pixel to the nearest feature of its own column, `far` (more than any true distance) where it has none.
fn vertical(feature: &[bool], width: usize, height: usize, far: i64) -> Vec<i64> {
    let mut distance: Vec<i64> = feature.iter().map(|&inside| if inside { 0 } else { far }).collect();
    for y in 1..height {
        for x in 0..width {
            let above = distance[(y - 1) * width + x] + 1;
            let here = &mut distance[y * width + x];
            *here = above.min(*here);
        }
    }
    for y in (1..height).rev() {
        for x in 0..width {
            let below = distance[y * width + x] + 1;
            let here = &mut distance[(y - 1) * width + x];
            *here = below.min(*here);
        }
    }
    distance
}

/// The parabolas `(x - site)^2 + row[site]^2` that are lowest somewhere: pairs of site and first x where it is lowest.
fn lower_envelope(row: &[i64], envelope: &mut Vec<(usize, i64)>) {
    envelope.clear();
    let value = |x: i64, site: usize| (x - site as i64).pow(2) + row[site].pow(2);
    for site in 0..row.len() {
        while let Some(&(last, start)) = envelope.last()
            && value(start, last) > value(start, site)
        {
            envelope.pop();
        }
        let Some(&(last, _)) = envelope.last() else {
            envelope.push((site, 0));
            continue;
        };
        // The last x where the older parabola is not above the newer one; both squares of sites fit easily.
        let (s, l) = (site as i64, last as i64);
        let crossing = (s * s - l * l + row[site].pow(2) - row[last].pow(2)).div_euclid(2 * (s - l));
        if crossing + 1 < row.len() as i64 {
            envelope.push((site, crossing + 1));
        }
    }
}

fn read_envelope(row: &[i64], envelope: &[(usize, i64)], squared: &mut Vec<u64>) {
    let mut pieces = envelope.iter().peekable();
    let mut site = 0;
    for x in 0..row.len() as i64 {
        while let Some(&&(next, start)) = pieces.peek()
            && start <= x
        {
            site = next;
            pieces.next();
        }
        squared.push(((x - site as i64).pow(2) + row[site].pow(2)) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, enough to scatter pixels.
    fn scattered(count: usize, one_in: u64, seed: u64) -> Vec<bool> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        (0..count).map(|_| next() % one_in == 0).collect()
    }

    fn brute(feature: &[bool], width: usize) -> Vec<u64> {
        let at = |i: usize| ((i % width) as i64, (i / width) as i64);
        let distance = |i: usize, j: usize| {
            let ((x, y), (u, v)) = (at(i), at(j));
            ((x - u).pow(2) + (y - v).pow(2)) as u64
        };
        let sites: Vec<usize> = (0..feature.len()).filter(|&i| feature[i]).collect();
        (0..feature.len()).map(|i| sites.iter().map(|&j| distance(i, j)).min().unwrap()).collect()
    }

    #[test]
    fn equals_the_search_over_all_pairs() {
        for (width, height) in [(1, 1), (1, 40), (40, 1), (2, 2), (17, 31), (31, 17), (64, 64)] {
            for (seed, one_in) in [(1, 1), (2, 2), (3, 7), (4, 40), (5, 400)] {
                let mut feature = scattered(width * height, one_in, seed);
                feature[(seed as usize * 7) % (width * height)] = true;
                let found = squared_distances(&feature, width, height).unwrap();
                assert_eq!(found, brute(&feature, width), "{width} x {height}, seed {seed}");
            }
        }
    }

    #[test]
    fn nothing_to_measure_to_is_none() {
        assert_eq!(squared_distances(&[false; 12], 4, 3), None);
        assert_eq!(squared_distances(&[], 0, 0), None);
    }
}
