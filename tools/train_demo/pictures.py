"""Procedural medical-looking pictures with targets: picture `number` is a pure function of (seed, number, difficulty).

A picture is painted back to front from star-shaped, bent, bitten, hollow and warped shapes. `label` names the topmost object of
every pixel; an object drawn wholly inside another has it as parent, and a target may take its children in or leave them out.
Grey levels are 0..255 throughout, lengths are pixels.
"""
import numpy as np

from camera import CT, DERMOSCOPY, FUNDUS, MR, US, XRAY, camera
from shapes import FINE, MAX_OBJECTS, MIDDLE, PINK, SIZE, draw, fast, log_uniform, pick, sign, speck, texture_bank, thread, tube

VERSION = 4
STYLE_WEIGHTS = np.array([0.36, 0.29, 0.09, 0.07, 0.08, 0.06, 0.05])
STYLE_MODALITIES = ((2, 2, 2, 3, 0), (7, 7), (8, 8), (9, 9), (4, 4), (5, 1), (6, 6))      # rows of MedSegDB's modality table


@fast
def _value_near(canvas, cx, cy, style, easy, out):
    """Grey (or colour) of a new object: what is under its centre plus a contrast that is usual for the style, which is returned."""
    n_ch = canvas.shape[0]
    xi, yi = min(max(int(cx), 0), SIZE - 1), min(max(int(cy), 0), SIZE - 1)
    if style == CT:
        d = log_uniform(4.0, 30.0) if np.random.random() < 0.72 else log_uniform(30.0, 120.0)
    elif style == MR:
        d = log_uniform(6.0, 110.0)
    elif style == US:
        d = log_uniform(10.0, 70.0)
    elif style == XRAY:
        d = log_uniform(6.0, 50.0)
    else:
        d = log_uniform(8.0, 100.0)
    d = sign() * ((1 - easy) * d + easy * (60 + 60 * np.random.random()))
    mean = 0.0
    for ch in range(n_ch): mean += canvas[ch, yi, xi] / n_ch
    if mean + d < 5 or mean + d > 250: d = -d
    for ch in range(n_ch):
        tint = 1.0 if n_ch == 1 else 0.6 + 0.8 * np.random.random()
        out[ch] = canvas[ch, yi, xi] + d * tint
        if n_ch == 3: out[ch] += np.random.normal(0, 8.0)
    return d


@fast
def _backdrop(canvas, bank, style):
    n_ch = canvas.shape[0]
    grey = np.random.random() * 12 if style <= MR else 20 + 160 * np.random.random()
    if style == MR and np.random.random() < 0.25: grey = 30 + 120 * np.random.random()
    for ch in range(n_ch):
        b = grey + (np.random.normal(0, 30) if n_ch == 3 else 0)
        t, amp = pick(PINK), (1.0 if style <= MR else 16.0) * np.random.random()
        o1, o2 = np.random.randint(256), np.random.randint(256)
        for y in range(SIZE):
            for x in range(SIZE): canvas[ch, y, x] = b + amp * bank[t, (y + o1) & 255, (x + o2) & 255]


@fast
def _body(canvas, label, parent, painted, bank, style, complexity):
    """The body's outline and one to three layers; returns the next object number, and the centre and half axes of the innermost."""
    value = np.zeros(3)
    a, b = 75 + 65 * np.random.random(), 65 + 65 * np.random.random()
    cx, cy = 128 + np.random.normal(0, 12), 128 + np.random.normal(0, 12)
    layers = np.random.randint(1, 4)
    for used in range(1, 1 + layers):
        value[:] = 60 + 70 * np.random.random() if style == CT else 25 + 150 * np.random.random()
        painted[used], parent[used] = draw(canvas, label, bank, used, cx, cy, a, b, False, value, 1.5, 3 * np.random.random(), PINK,
                                           0.0, 0.0, 1.0, 0.25 * complexity, 0)
        shrink = 0.75 + 0.2 * np.random.random()
        a *= shrink
        b *= shrink
    return 1 + layers, cx, cy, a, b


@fast
def _surface(style, easy, b):
    """Softness of the edge, amplitude and kind of the texture, width and grey of a rim."""
    u = np.random.random()
    soft = 0.8 if u < 0.35 else (log_uniform(1.0, 3.0) if u < 0.85 else log_uniform(2.0, 9.0))
    soft = min(soft, 0.6 * b) * (1 - 0.7 * easy)
    if style == US: soft *= 1.5
    texture = (1 - easy) * (log_uniform(0.4, 6.0) if style == CT else log_uniform(0.5, 14.0))
    span = PINK if np.random.random() < 0.4 else (MIDDLE if np.random.random() < 0.5 else FINE)
    if np.random.random() < 0.22:
        return soft, texture, span, min(log_uniform(1.0, 8.0), 0.4 * b), sign() * log_uniform(4.0, 50.0)
    return soft, texture, span, 0.0, 0.0


@fast
def _insides(canvas, label, parent, painted, bank, used, cx, cy, a, b, surface, style, easy):
    """Cavities, cores, lesions: objects inside the one just drawn; returns the next object number."""
    value = np.zeros(3)
    for _ in range(np.random.randint(1, 4)):
        if used + 2 >= MAX_OBJECTS: break
        f = 0.15 + 0.6 * np.random.random()
        spread = (0.25 if f < 0.5 else 0.06) * b
        x, y = cx + np.random.normal(0, spread), cy + np.random.normal(0, spread)
        _value_near(canvas, x, y, style, easy, value)
        complexity = 1.0 - 0.6 * easy
        if np.random.random() < 0.3: complexity = 0.0
        painted[used], parent[used] = draw(canvas, label, bank, used, x, y, a * f, b * f, False, value, surface[0], surface[1], surface[2],
                                           0.0, 0.0, 1.0, complexity, 0)
        used += 1
    return used


@fast
def _clutter(canvas, style, easy):
    """Vessels, hairs and spots that belong to whatever they lie on."""
    delta = np.zeros(3)
    strongest = 24.0 if style == CT else 70.0
    for _ in range(int((1 - easy) * np.random.random() * (14 if style != DERMOSCOPY else 24))):
        d = sign() * log_uniform(4.0, strongest)
        for ch in range(canvas.shape[0]): delta[ch] = d * (0.7 + 0.6 * np.random.random())
        thread(canvas, delta, log_uniform(0.6, 3.0), 20 + 150 * np.random.random(), 0.02)
    for _ in range(int((1 - easy) * np.random.random() * 14)):
        delta[:] = sign() * log_uniform(4.0, strongest)
        speck(canvas, delta, log_uniform(1.0, 5.0))


@fast
def _size(one_large, plain, easy):
    """Half axes of an object, the longer one first"""
    size = log_uniform(14.0, 80.0) if easy > 0.5 else log_uniform(5.0, 80.0)
    if one_large: size = log_uniform(55.0, 160.0)
    aspect = log_uniform(1.0, 2.4) if np.random.random() < 0.85 else log_uniform(2.0, 5.0)
    if plain: size, aspect = log_uniform(4.0, 45.0), log_uniform(1.0, 1.6)
    return size * np.sqrt(aspect), size / np.sqrt(aspect)


@fast
def _scene(canvas, label, parent, painted, bank, style, easy):
    """Paints everything; returns how many object numbers are in use (0 is the background)."""
    value = np.zeros(3)
    complexity = 1.0 - 0.6 * easy
    _backdrop(canvas, bank, style)
    used, mx, my, rx, ry = 1, 128.0, 128.0, 128.0, 128.0
    if style <= MR and np.random.random() < 0.8:
        used, mx, my, rx, ry = _body(canvas, label, parent, painted, bank, style, complexity)
    one_large = np.random.random() < (0.55 if style == DERMOSCOPY else 0.12)
    count = np.random.randint(2, 10) if one_large else np.random.randint(4, 26)
    if easy > 0.5: count = min(count, np.random.randint(3, 9))
    siblings, eldest, contrast, cx, cy, last_a, last_b = 0, 0, 0.0, 0.0, 0.0, 1.0, 1.0
    for k in range(count):
        if used + 6 >= MAX_OBJECTS: break
        large = one_large and k == 0
        plain = not large and np.random.random() < 0.2                        # a disc or ellipse: a vessel cut across, a cyst
        a, b = _size(large, plain, easy)
        if siblings > 0:                                                      # another piece of the same organ, as bowel loops are
            siblings -= 1
            scale = 0.6 + 0.8 * np.random.random()
            a, b = last_a * scale, last_b * scale
            cx, cy = cx + np.random.normal(0, 2.2) * b, cy + np.random.normal(0, 2.2) * b
        elif k > 0 and not plain and np.random.random() < 0.12 * complexity:  # a neighbour of nearly the same grey, as muscles have
            eldest, angle, gap = 0, np.random.random() * 6.2832, 0.75 + 0.3 * np.random.random()
            cx, cy = cx + np.cos(angle) * gap * (last_a + b), cy + np.sin(angle) * gap * (last_a + b)
            value += np.random.normal(0, 4.0)
            last_a, last_b = a, b
        else:
            cx, cy = mx + (2 * np.random.random() - 1) * rx, my + (2 * np.random.random() - 1) * ry
            if large: cx, cy = 128 + np.random.normal(0, 30), 128 + np.random.normal(0, 30)
            contrast = _value_near(canvas, cx, cy, style, easy, value)
            eldest, last_a, last_b = 0, a, b
            if np.random.random() < 0.07 * complexity and a * b < 1600: siblings, eldest = np.random.randint(1, 4), used
        surface = _surface(style, easy, b)
        if eldest == 0 and not large and not plain and np.random.random() < 0.09 * complexity:
            radius = log_uniform(1.5, 10.0)
            painted[used] = tube(canvas, label, bank, used, cx, cy, radius, log_uniform(4.0, 25.0) * radius, log_uniform(0.005, 0.08), value,
                                 min(surface[0], radius), surface[1])
            used += 1
            continue
        seeds = np.random.randint(2, 5) if np.random.random() < 0.2 * complexity and b > 12 and not plain else 0
        adds = style == XRAY and np.random.random() < 0.7
        if adds: value[:] = contrast
        opacity = 1.0 if adds or np.random.random() < 0.8 else 0.35 + 0.6 * np.random.random()
        variety = 0.0 if plain else complexity
        painted[used], parent[used] = draw(canvas, label, bank, used, cx, cy, a, b, adds, value, *surface, opacity, variety, seeds)
        if eldest > 0 and used > eldest: parent[used] = eldest
        for j in range(seeds): parent[used + 1 + j] = used
        used += 1 + seeds
        if seeds == 0 and not plain and b > 8 and np.random.random() < 0.35:
            used = _insides(canvas, label, parent, painted, bank, used, cx, cy, a, b, surface, style, easy)
    _clutter(canvas, style, easy)
    return used


@fast
def _target(label, parent, used, which, take, mask):
    """Mask of object `which` with each of its children taken in or left out; returns area and box (inclusive)."""
    belongs = np.zeros(MAX_OBJECTS, np.bool_)
    belongs[which] = True
    for o in range(which + 1, used):
        if parent[o] >= 0 and belongs[parent[o]] and (take > 1 or np.random.random() < take): belongs[o] = True
    area, x0, y0, x1, y1 = 0, SIZE, SIZE, -1, -1
    for y in range(SIZE):
        for x in range(SIZE):
            hit = belongs[label[y, x]]
            mask[y, x] = hit
            if hit:
                area += 1
                x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    return area, x0, y0, x1, y1


@fast
def _prompts(label, parent, painted, used, height, width, masks, boxes, tight):
    """Fills masks [K] and boxes [K, 4]; returns how many there are. Boxes are inclusive on a grid of height x width and then scaled to
    256, both corners alike: on a coarse grid they end short of the last row and column."""
    order = np.random.permutation(used - 1) + 1
    areas = np.zeros(MAX_OBJECTS, np.int64)
    for y in range(SIZE):
        for x in range(SIZE): areas[label[y, x]] += 1
    found, tried = 0, 0
    while found < len(masks) and tried < 3 * len(order):
        which = order[tried % len(order)]
        tried += 1
        has_parts = which + 1 < used and parent[which + 1] == which
        if areas[which] < 30 and not has_parts: continue
        take = 2.0 if np.random.random() < 0.7 else np.random.random()
        area, x0, y0, x1, y1 = _target(label, parent, used, which, take, masks[found])
        w, h = x1 - x0 + 1, y1 - y0 + 1
        if area * height * width < 20 * SIZE * SIZE or area < 40 or w < 5 or h < 5: continue
        if area < 0.15 * w * h or area > 0.97 * SIZE * SIZE: continue
        if area < 0.6 * painted[which] and np.random.random() < 0.85: continue      # hidden for the most part
        sx, sy = SIZE / width, SIZE / height
        left, right, top, bottom = int((x0 + 0.5) / sx) * sx, int((x1 + 0.5) / sx) * sx, int((y0 + 0.5) / sy) * sy, int((y1 + 0.5) / sy) * sy
        reach = 0 if np.random.random() < tight else (5 if np.random.random() < 0.5 else 20)
        if reach > 0:
            left, top = max(0.0, left - np.random.randint(reach)), max(0.0, top - np.random.randint(reach))
            right, bottom = min(SIZE - 1.0, right + np.random.randint(reach)), min(SIZE - 1.0, bottom + np.random.randint(reach))
        boxes[found, 0], boxes[found, 1], boxes[found, 2], boxes[found, 3] = left, top, right, bottom
        found += 1
    return found


@fast
def _picture(seed, bank, easy, tight, style_cdf, image, masks, boxes):
    """One picture with len(masks) prompts; returns the style, or -1 when too little of it can be a target."""
    np.random.seed(seed)
    style = min(int(np.searchsorted(style_cdf, np.random.random())), FUNDUS)
    n_ch = 3 if style >= DERMOSCOPY else 1
    canvas = np.zeros((n_ch, SIZE, SIZE), np.float32)
    label = np.zeros((SIZE, SIZE), np.uint8)
    parent = np.full(MAX_OBJECTS, -1, np.int64)
    painted = np.zeros(MAX_OBJECTS, np.int64)
    used = _scene(canvas, label, parent, painted, bank, style, easy)
    height, width = camera(canvas, label, bank, style, easy)
    found = _prompts(label, parent, painted, used, height, width, masks, boxes, tight)
    if found < min(3, len(masks)): return -1
    for k in range(found, len(masks)):
        masks[k] = masks[k - found]
        boxes[k] = boxes[k - found]
    for ch in range(3):
        for y in range(SIZE):
            for x in range(SIZE): image[ch, y, x] = np.uint8(canvas[ch if n_ch == 3 else 0, y, x] + 0.5)
    return style


class Pictures:
    """The endless series of pictures of one seed."""

    def __init__(self, seed, prompts, tight=0.6):
        self.seed, self.prompts, self.tight = seed, prompts, tight
        self.bank = texture_bank(seed)
        self.cdf = np.cumsum(STYLE_WEIGHTS / STYLE_WEIGHTS.sum())

    def batch(self, numbers, easy=0.0):
        """numbers of pictures -> image [B, 3, 256, 256] u8, masks [B, K, 256, 256] u8, boxes [B, K, 4] f32, context [B, 5] i64, style [B]"""
        B, K = len(numbers), self.prompts
        image, masks = np.empty((B, 3, SIZE, SIZE), np.uint8), np.empty((B, K, SIZE, SIZE), np.uint8)
        boxes, context, styles = np.empty((B, K, 4), np.float32), np.empty((B, 5), np.int64), np.empty(B, np.int64)
        for i, number in enumerate(numbers):
            rng = np.random.default_rng([self.seed, number])
            styles[i] = -1
            while styles[i] < 0:
                styles[i] = _picture(rng.integers(1 << 31), self.bank, easy, self.tight, self.cdf, image[i], masks[i], boxes[i])
            # Organ and task are drawn at random: the model learns to do without them, so any context is as good at inference.
            context[i] = rng.choice(STYLE_MODALITIES[styles[i]]), *rng.integers((5, 12, 39, 112))
        return image, masks, boxes, context, styles


if __name__ == "__main__":      # python3 pictures.py OUT.npz: a sheet of pictures to look at, and the time a picture takes
    import sys
    import time
    pictures = Pictures(1, 6)
    pictures.batch(range(4))
    start = time.time()
    sheet = pictures.batch(range(100, 148))
    print(f"{(time.time() - start) / 48 * 1e3:.1f} ms a picture")
    np.savez(sys.argv[1], image=sheet[0], masks=sheet[1], boxes=sheet[2], style=sheet[4])
