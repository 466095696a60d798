"""Ways to choose one of three masks without the ground truth; the same definitions as the engine's (src/mask.rs)."""
import numpy as np

CONTINUITY_WEIGHT = 0.25


def dice(a, b):
    return 2 * (a & b).sum((-1, -2)) / np.maximum(a.sum((-1, -2)) + b.sum((-1, -2)), 1)


def tight_box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1], rows[-1]


def box_agreement(mask, box):
    """IoU of the mask's box and the prompt box, times the share of the mask inside the prompt box"""
    if not mask.any():
        return 0.0
    tight = tight_box(mask)
    area = lambda b: (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    w = min(tight[2], box[2]) - max(tight[0], box[0]) + 1
    h = min(tight[3], box[3]) - max(tight[1], box[1]) + 1
    both = max(w, 0) * max(h, 0)
    x0, y0, x1, y1 = (int(round(v)) for v in box)
    return both / (area(tight) + area(box) - both) * mask[max(y0, 0):y1 + 1, max(x0, 0):x1 + 1].sum() / mask.sum()


def stability(logits, offset):
    below = (logits > -offset).sum()
    return (logits > offset).sum() / below if below else 0.0


def measures(logits, box):
    """logits [3, H, W] -> name -> score of the three masks"""
    return scores(logits, np.array([box_agreement(m, box) for m in logits > 0]))


def scores(logits, b):
    """As `measures`, where the masks' box agreements are known."""
    masks = logits > 0
    some = masks.any((1, 2))
    s = {d: np.array([stability(x, d) for x in logits]) for d in (0.5, 1.0, 2.0, 4.0)}
    pair = np.array([[dice(p, q) for q in masks] for p in masks])
    c = (pair.sum(1) - pair.diagonal()) / 2
    out = {"box agreement": b, **{f"stability, offset {d:g}": v for d, v in s.items()}, "consensus": c,
           "box x stability": b * s[1.0], "box x consensus": b * c, "stability x consensus": s[1.0] * c,
           "box x stability x consensus": b * s[1.0] * c, "stability x consensus, offset 2": s[2.0] * c,
           "box x stability, offset 2": b * s[2.0], "box x stability x consensus, offset 2": b * s[2.0] * c}
    return {k: np.where(some, v, 0) for k, v in out.items()}


def continuous(scores, masks, weight=CONTINUITY_WEIGHT):
    """One mask a slice of adjacent slices, the highest sum of scores and of `weight` x Dice x geometric mean of the scores over the pairs
    of neighbours (Viterbi). scores [S][3], masks [S][3, H, W]."""
    best, back = np.array(scores[0]), []
    for s in range(1, len(scores)):
        pair = np.array([[dice(p, q) for q in masks[s]] for p in masks[s - 1]])
        value = best[:, None] + weight * pair * np.sqrt(np.outer(scores[s - 1], scores[s]))
        back.append(value.argmax(0))
        best = value.max(0) + scores[s]
    chosen = [int(best.argmax())]
    for step in reversed(back):
        chosen.append(int(step[chosen[-1]]))
    return chosen[::-1]


def compare(records):
    """records: (scores by rule, DSC of the three masks), half to count which mask wins, half to compare -> printed table"""
    half = len(records) // 2
    wins = np.bincount([int(np.argmax(d)) for _, d in records[:half]], minlength=3) / max(half, 1)
    rest = records[half:]
    best = np.mean([d.max() for _, d in rest])
    rows = [(f"mask {m + 1} always", np.mean([d[m] for _, d in rest])) for m in range(3)]
    rows += [(name, np.mean([d[int(np.argmax(s[name]))] for s, d in rest])) for name in rest[0][0]]
    rows += [("prior (share of wins) x " + name, np.mean([d[int(np.argmax(s[name] * wins))] for s, d in rest]))
             for name in ("box x stability", "box x stability x consensus")]
    print(f"{len(rest)} targets, best of three {best:.4f}; shares of wins {' '.join(f'{w:.2f}' for w in wins)}")
    for name, mean in sorted(rows, key=lambda r: -r[1]):
        print(f"| {name} | {mean:.4f} | {best - mean:.4f} |")
