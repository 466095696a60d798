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
def camera(canvas, label, bank, style, easy):
    """Blur, bias field, noise, field of view, gamma and range of the modality."""
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
    if np.random.random() < 0.35: _blur(canvas, np.random.randint(1, 7))      # slices enlarged from a coarser grid
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
