"""Textures and the painting of single objects. Grey levels are 0..255, lengths are pixels.

An object is star-shaped about its centre, then turned, bent, bitten, hollowed and warped; `label` names the topmost object of every pixel.
"""
import numpy as np
from numba import njit

SIZE = 256
MAX_OBJECTS = 64
LOW, MIDDLE, FINE, PINK, WHITE = (0, 8), (8, 20), (20, 32), (32, 40), (40, 48)      # ranges of the texture bank

fast = njit(nogil=True, cache=True, fastmath=True)


def texture_bank(seed):
    """[48, 256, 256] float32, periodic, zero mean, unit deviation: low, middle and fine bands, 1/f, white."""
    rng = np.random.default_rng([seed, 77])
    f = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    bank = []
    for i in range(WHITE[1]):
        white = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
        if i < LOW[1]:
            gain = np.exp(-(f / rng.uniform(2, 5)) ** 2)
        elif i < FINE[1]:
            centre = np.exp(rng.uniform(*(np.log((5, 16)) if i < MIDDLE[1] else np.log((16, 64)))))
            gain = np.exp(-((f - centre) / (0.5 * centre)) ** 2)
        elif i < PINK[1]:
            gain = (f + 1) ** -rng.uniform(1.0, 2.2)
        else:
            gain = np.ones_like(f)
        gain[0, 0] = 0
        t = np.fft.irfft2(white * gain, (SIZE, SIZE))
        bank.append(t / t.std())
    return np.array(bank, np.float32)


@fast
def log_uniform(a, b):
    return a * (b / a) ** np.random.random()


@fast
def pick(span):
    return np.random.randint(span[0], span[1])


@fast
def sign():
    return 1.0 if np.random.random() < 0.5 else -1.0


@fast
def _profile(kind, lumpy, rough, out):
    """Radius over the diamond angle (256 steps): 0 harmonics, 1 super-ellipse, 2 polygon; `lumpy` and `rough` are the amplitudes of low
    and of high harmonics."""
    amp, phase = np.zeros(24), np.zeros(24)
    for k in range(2, 6):
        amp[k] = np.random.random() * lumpy / k
        phase[k] = np.random.random() * 6.2832
    for k in range(6, 24):
        amp[k] = rough * np.random.random() * 8.0 / (k + 2)
        phase[k] = np.random.random() * 6.2832
    power = 2.0 + 4.0 * np.random.random()
    sides = np.random.randint(3, 8)
    for i in range(256):
        t = i / 64.0
        q = t % 1.0
        if t < 1: x, y = 1 - q, q
        elif t < 2: x, y = -q, 1 - q
        elif t < 3: x, y = q - 1, -q
        else: x, y = q, q - 1
        angle = np.arctan2(y, x)
        c, s = abs(np.cos(angle)), abs(np.sin(angle))
        r = 1.0
        if kind == 1:
            r = (c ** power + s ** power) ** (-1.0 / power)
        elif kind == 2:
            w = 6.2832 / sides
            r = np.cos(w / 2) / np.cos((angle + 6.2832) % w - w / 2)
            r = 0.7 * r + 0.3 * 0.85
        for k in range(2, 24):
            r += amp[k] * np.cos(k * angle + phase[k])
        out[i] = max(r, 0.15)


@fast
def _outline(a, b, complexity):
    """A random outline in its own unit frame: radius over the diamond angle, turn, bend, bite and hole. Complexity 0 is a plain ellipse."""
    table = np.empty(256)
    u = np.random.random()
    kind = 0 if u < 0.78 else (1 if u < 0.93 else 2)
    lumpy = np.random.random() ** 3 * (0.5 if kind == 0 else 0.12)
    if complexity == 0: kind, lumpy = 0, 0.0
    rough = 0.0 if np.random.random() < 0.82 else complexity * 0.06 * np.random.random()
    _profile(kind, lumpy, rough, table)
    turn = np.random.random() * 6.2832
    bend = 0.0 if np.random.random() < 0.7 else np.random.normal(0, 0.5) * complexity
    bite = np.random.random() < 0.12 * complexity
    bite_angle = np.random.random() * 6.2832
    bite_r = 0.5 + 0.9 * np.random.random()
    bite_d = bite_r + np.random.random() * 0.8 - 0.35
    hollow = 0.35 + 0.5 * np.random.random() if np.random.random() < 0.07 * complexity else 0.0
    return (table, np.cos(turn) / a, np.sin(turn) / a, np.cos(turn) / b, np.sin(turn) / b, bend,
            bite_r if bite else 0.0, bite_d * np.cos(bite_angle), bite_d * np.sin(bite_angle), hollow)


@fast
def _distance(outline, dx, dy):
    """Signed distance to the outline in units of the shorter half axis (positive inside), and where that is in the unit frame."""
    table, ca, sa, cb, sb, bend, bite_r, bite_x, bite_y, hollow = outline
    u = ca * dx + sa * dy
    v = cb * dy - sb * dx + bend * (u * u - 0.4)
    r2 = u * u + v * v
    if r2 > 4.5: return -1e9, u, v
    r = np.sqrt(r2)
    t = abs(v) / (abs(u) + abs(v) + 1e-9)
    if u < 0: t = 2 - t
    if v < 0: t = 4 - t
    t *= 64.0
    i = int(t)
    edge = table[i & 255] * (1 - t + i) + table[(i + 1) & 255] * (t - i)
    f = edge - r
    if bite_r > 0:
        f = min(f, np.sqrt((u - bite_x) ** 2 + (v - bite_y) ** 2) - bite_r)
    if hollow > 0:
        f = min(f, r - hollow * edge)
    return f, u, v


@fast
def _warp(m, complexity):
    """Amplitude in pixels and two textures that push the outline about."""
    amount = 0.0
    if np.random.random() < 0.4 * complexity:
        amount = min(12.0, log_uniform(0.05, 0.4) * m)
    span = LOW if np.random.random() < 0.6 else (MIDDLE if np.random.random() < 0.6 else FINE)
    if span[0] == FINE[0]: amount = min(amount, 2.5)
    elif span[0] == MIDDLE[0]: amount = min(amount, 4.0)
    return amount, pick(span), pick(span)


@fast
def _parts(seeds):
    """Seeds of the parts (unit frame), their differences in grey, and the line between them: width and grey."""
    x, y, grey = np.zeros(8), np.zeros(8), np.zeros(8)
    for k in range(seeds):
        x[k], y[k] = np.random.normal(0, 0.55), np.random.normal(0, 0.55)
        grey[k] = 0.0 if np.random.random() < 0.35 else np.random.normal(0, 6.0)
    width = 0.5 + 1.5 * np.random.random() if np.random.random() < 0.6 else 0.0
    return x, y, grey, width, sign() * log_uniform(3.0, 30.0)


@fast
def _nearest(parts, seeds, u, v):
    """The part a point belongs to, and how much farther the next one is."""
    best, second, part = 1e9, 1e9, 0
    for k in range(seeds):
        d = (u - parts[0][k]) ** 2 + (v - parts[1][k]) ** 2
        if d < best: second, best, part = best, d, k
        elif d < second: second = d
    return part, np.sqrt(second) - np.sqrt(best)


@fast
def draw(canvas, label, bank, me, cx, cy, a, b, adds, value, soft, tex_amp, tex_span, rim, rim_delta, opacity, complexity, seeds):
    """Paints one object over what is there, or adds it (projection). seeds > 0 cuts it into parts me+1.. of nearly equal grey.
    Returns the pixels painted and the label that nearly all of them had before (or -1)."""
    m = min(a, b)
    outline, (warp, w1, w2), parts = _outline(a, b, complexity), _warp(m, complexity), _parts(seeds)
    o1, o2, o3, o4 = np.random.randint(256), np.random.randint(256), np.random.randint(256), np.random.randint(256)
    texture = pick(tex_span)
    gx, gy = 0.0, 0.0
    if np.random.random() < 0.35:
        gx, gy = np.random.normal(0, 1) * tex_amp * 1.2 / m, np.random.normal(0, 1) * tex_amp * 1.2 / m
    reach = (1.5 + 0.8 * abs(outline[5])) * max(a, b) + warp * 3 + soft
    counts = np.zeros(MAX_OBJECTS, np.int64)
    painted = 0
    for y in range(max(0, int(cy - reach)), min(SIZE, int(cy + reach) + 1)):
        for x in range(max(0, int(cx - reach)), min(SIZE, int(cx + reach) + 1)):
            dx, dy = x - cx, y - cy
            if warp > 0:
                dx += warp * bank[w1, (y + o1) & 255, (x + o2) & 255]
                dy += warp * bank[w2, (y + o2) & 255, (x + o1) & 255]
            f, u, v = _distance(outline, dx, dy)
            alpha = min(f * m / max(soft, 0.7) + 0.5, 1.0)
            if alpha <= 0: continue
            shade = gx * dx + gy * dy + tex_amp * bank[texture, (y + o3) & 255, (x + o4) & 255]
            if rim > 0 and f * m < rim: shade += rim_delta
            part = 0
            if seeds > 0:
                k, gap = _nearest(parts, seeds, u, v)
                part = k + 1
                shade += parts[2][k]
                if gap * m < parts[3]: shade += parts[4]
            w = alpha * opacity
            for ch in range(canvas.shape[0]):
                canvas[ch, y, x] += w * (value[ch] + 0.5 * shade if adds else value[ch] + shade - canvas[ch, y, x])
            if alpha >= 0.5:
                counts[label[y, x]] += 1
                painted += 1
                label[y, x] = me + part
    under = np.argmax(counts)
    return painted, under if counts[under] > 0.92 * painted else -1


@fast
def tube(canvas, label, bank, me, x, y, radius, length, wiggle, value, soft, tex_amp):
    """A winding tube that is a target: a bowel or vessel lying in the slice. Returns the pixels painted."""
    depth = np.full((SIZE, SIZE), np.float32(-1e9))                               # distance inside the wall, negative outside
    direction, turn, swell = np.random.random() * 6.2832, 0.0, 0.0
    for _ in range(int(length)):
        x += np.cos(direction); y += np.sin(direction)
        turn = 0.93 * turn + np.random.normal(0, wiggle)
        swell = 0.97 * swell + np.random.normal(0, 0.03)
        direction += turn
        r = radius * min(max(1 + swell, 0.6), 1.5)
        reach = r + soft + 1
        for py in range(max(0, int(y - reach)), min(SIZE, int(y + reach) + 1)):
            for px in range(max(0, int(x - reach)), min(SIZE, int(x + reach) + 1)):
                depth[py, px] = max(depth[py, px], r - np.sqrt((px - x) ** 2 + (py - y) ** 2))
    texture, o1, o2 = pick(PINK), np.random.randint(256), np.random.randint(256)
    painted = 0
    for py in range(SIZE):
        for px in range(SIZE):
            alpha = min(depth[py, px] / max(soft, 0.7) + 0.5, 1.0)
            if alpha <= 0: continue
            shade = tex_amp * bank[texture, (py + o1) & 255, (px + o2) & 255]
            for ch in range(canvas.shape[0]): canvas[ch, py, px] += alpha * (value[ch] + shade - canvas[ch, py, px])
            if alpha >= 0.5:
                painted += 1
                label[py, px] = me
    return painted


@fast
def thread(canvas, delta, width, length, wiggle):
    """A vessel, hair or crease: darker or lighter, and never a target."""
    x, y = np.random.random() * SIZE, np.random.random() * SIZE
    direction = np.random.random() * 6.2832
    turn = 0.0
    reach = int(width + 1.5)
    for _ in range(int(length)):
        x += np.cos(direction); y += np.sin(direction)
        turn = 0.9 * turn + np.random.normal(0, wiggle)
        direction += turn
        xi, yi = int(x), int(y)
        if xi < -4 or yi < -4 or xi > SIZE + 4 or yi > SIZE + 4: break
        for py in range(max(0, yi - reach), min(SIZE, yi + reach + 1)):
            for px in range(max(0, xi - reach), min(SIZE, xi + reach + 1)):
                d = np.sqrt((px - x) ** 2 + (py - y) ** 2)
                w = min(max(width - d + 0.5, 0.0), 1.0) * 0.5
                for ch in range(canvas.shape[0]):
                    canvas[ch, py, px] += w * delta[ch] * 0.6


@fast
def speck(canvas, delta, radius):
    cx, cy = np.random.random() * SIZE, np.random.random() * SIZE
    b = radius * (0.5 + np.random.random())
    for y in range(max(0, int(cy - b - 2)), min(SIZE, int(cy + b + 3))):
        for x in range(max(0, int(cx - radius - 2)), min(SIZE, int(cx + radius + 3))):
            f = (1 - np.sqrt(((x - cx) / radius) ** 2 + ((y - cy) / b) ** 2)) * min(radius, b)
            w = min(max(f + 0.5, 0.0), 1.0)
            for ch in range(canvas.shape[0]):
                canvas[ch, y, x] += w * delta[ch]
