"""From painted tissue to a picture as a scanner or camera gives it."""
import numpy as np

from shapes import FINE, LOW, SIZE, WHITE, fast, log_uniform, pick

CT, MR, US, XRAY, DERMOSCOPY, ENDOSCOPY, FUNDUS = range(7)


@fast
def _blur(canvas, passes):
    """Each pass is the binomial filter 1 2 1 on both axes (variance 0.5)."""
    n_ch = canvas.shape[0]
    row = np.empty(SIZE, np.float32)
    for ch in range(n_ch):
        for _ in range(passes):
            for y in range(SIZE):
                for x in range(SIZE): row[x] = canvas[ch, y, x]
                for x in range(1, SIZE - 1): canvas[ch, y, x] = 0.25 * (row[x - 1] + 2 * row[x] + row[x + 1])
            for x in range(SIZE): row[x] = canvas[ch, 0, x]
            for y in range(1, SIZE - 1):
                for x in range(SIZE):
                    here = canvas[ch, y, x]
                    canvas[ch, y, x] = 0.25 * (row[x] + 2 * here + canvas[ch, y + 1, x])
                    row[x] = here


@fast
def _noise(canvas, bank, amount, kind, correlated):
    """kind 0 additive, 1 Rician (magnitude), 2 multiplicative speckle"""
    t1, t2 = pick(WHITE), pick(WHITE)
    if correlated: t2 = pick(FINE)
    a, b, c, d = np.random.randint(256), np.random.randint(256), np.random.randint(256), np.random.randint(256)
    for y in range(SIZE):
        for x in range(SIZE):
            n1 = bank[t1, (y + a) & 255, (x + b) & 255]
            n2 = bank[t2, (y + c) & 255, (x + d) & 255]
            for ch in range(canvas.shape[0]):
                v = canvas[ch, y, x]
                if kind == 0:
                    canvas[ch, y, x] = v + amount * (0.7 * n1 + 0.7 * n2)
                elif kind == 1:
                    canvas[ch, y, x] = np.sqrt((v + amount * n1) ** 2 + (amount * n2) ** 2)
                else:
                    g = 1 + 0.02 * amount * (n1 + n2)
                    canvas[ch, y, x] = v * max(g, 0.05)


@fast
def _field_of_view(canvas, label, kind, outside):
    """1 disc, 2 ultrasound fan; nothing outside is a target"""
    r = SIZE * (0.42 + 0.16 * np.random.random())
    cx, cy = SIZE / 2 + np.random.normal(0, 6), SIZE / 2 + np.random.normal(0, 6)
    ax, ay = SIZE / 2 + np.random.normal(0, 20), -20.0 - 60 * np.random.random()
    half = 0.45 + 0.4 * np.random.random()
    far = SIZE - ay - 30 * np.random.random()
    for y in range(SIZE):
        for x in range(SIZE):
            if kind == 1:
                out = (x - cx) ** 2 + (y - cy) ** 2 > r * r
            else:
                dx, dy = x - ax, y - ay
                d = np.sqrt(dx * dx + dy * dy)
                out = d > far or d < -ay + 8 or abs(np.arctan2(dx, dy)) > half
            if out:
                label[y, x] = 0
                for ch in range(canvas.shape[0]): canvas[ch, y, x] = outside


@fast
def _coarse(canvas, label, height, width, average):
    """The picture as it looks when it was sampled on a coarser grid (means of the pixels, or single ones) and enlarged between
    samples, as the engine enlarges it; labels stay in blocks, as labels are on such a grid."""
    small = np.empty((height, width), np.float32)
    blocks = np.empty((height, width), np.uint8)
    sy, sx = SIZE / height, SIZE / width
    for y in range(height):
        for x in range(width): blocks[y, x] = label[int((y + 0.5) * sy), int((x + 0.5) * sx)]
    for y in range(SIZE):
        for x in range(SIZE): label[y, x] = blocks[int((y + 0.5) / sy), int((x + 0.5) / sx)]
    for ch in range(canvas.shape[0]):
        for y in range(height):
            for x in range(width):
                if average:
                    y0, y1, x0, x1 = int(y * sy), int(np.ceil((y + 1) * sy)), int(x * sx), int(np.ceil((x + 1) * sx))
                    small[y, x] = canvas[ch, y0:min(y1, SIZE), x0:min(x1, SIZE)].mean()
                else:
                    small[y, x] = canvas[ch, int((y + 0.5) * sy), int((x + 0.5) * sx)]
        for y in range(SIZE):
            v = min(max((y + 0.5) / sy - 0.5, 0.0), height - 1.0)
            i = min(int(v), height - 2)
            for x in range(SIZE):
                u = min(max((x + 0.5) / sx - 0.5, 0.0), width - 1.0)
                j = min(int(u), width - 2)
                top = small[i, j] + (u - j) * (small[i, j + 1] - small[i, j])
                low = small[i + 1, j] + (u - j) * (small[i + 1, j + 1] - small[i + 1, j])
                canvas[ch, y, x] = top + (v - i) * (low - top)


@fast
def camera(canvas, label, bank, style, easy):
    """Blur, bias field, noise, grid, field of view, gamma and range of the modality. Returns height and width of the grid that boxes
    are counted on before they are scaled to 256."""
    n_ch = canvas.shape[0]
    hard = 1 - easy
    if np.random.random() < 0.5: _blur(canvas, np.random.randint(1, 5))
    if style != CT and np.random.random() < 0.6:
        t, amp = pick(LOW), hard * 0.3 * np.random.random()
        o1, o2 = np.random.randint(256), np.random.randint(256)
        for y in range(SIZE):
            for x in range(SIZE):
                g = max(0.2, 1 + amp * bank[t, (y + o1) & 255, (x + o2) & 255])
                for ch in range(n_ch): canvas[ch, y, x] *= g
    if style == US:
        _noise(canvas, bank, hard * (5 + 20 * np.random.random()), 2, True)
        if np.random.random() < 0.7: _blur(canvas, 1)
    elif style == MR:
        _noise(canvas, bank, hard * log_uniform(0.5, 14.0), 1, False)
    else:
        _noise(canvas, bank, hard * log_uniform(0.4, 9.0 if style == CT else 6.0), 0, np.random.random() < 0.4)
    height, width = SIZE, SIZE
    if np.random.random() < (0.5 if style <= MR else 0.2):
        side = log_uniform(80.0, 230.0)
        height, width = int(side), min(max(int(side * log_uniform(0.75, 1.33)), 80), 250)
        _coarse(canvas, label, height, width, np.random.random() < 0.6)
        if np.random.random() < 0.3: height, width = SIZE, SIZE               # enlarged before anybody drew a box
    elif np.random.random() < 0.3:
        _blur(canvas, np.random.randint(1, 7))
    u = np.random.random()
    if style == US and u < 0.6: _field_of_view(canvas, label, 2, 0.0)
    elif style >= ENDOSCOPY and u < 0.6: _field_of_view(canvas, label, 1, 2.0)
    elif style == CT and u < 0.1: _field_of_view(canvas, label, 1, 0.0)
    gamma = 1.0 if np.random.random() < 0.4 else log_uniform(0.6, 1.7)
    lo, gain = 0.0, 1.0
    if style == CT:
        if np.random.random() < 0.35:                                         # a narrow window
            gain = log_uniform(1.3, 4.0)
            lo = (1 - 1 / gain) * (40 + 60 * np.random.random())
        elif np.random.random() < 0.25:                                       # padding below air compresses everything
            gain = log_uniform(0.5, 1.0)
            lo = -255 * (1 - gain) * np.random.random()
    else:
        gain = log_uniform(0.6, 1.25)
    for ch in range(n_ch):
        for y in range(SIZE):
            for x in range(SIZE):
                v = min(max((canvas[ch, y, x] - lo) * gain, 0.0), 255.0)
                if gamma != 1.0: v = 255.0 * (v / 255.0) ** gamma
                canvas[ch, y, x] = v
    return height, width
