"""Alpha158 and Alpha360 by their definitions, one bar and one window at a time, in plain Python."""

import math

import numpy as np

LENGTHS = (5, 10, 20, 30, 60)
EPS = 1e-12
NAN = math.nan


def mean(values):
    return math.fsum(values) / len(values) if values else NAN


def std(values):
    if len(values) < 2:
        return NAN
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))


def line(values):
    """Slope, r² and last residual of the least-squares line through (0, v0), (1, v1), …"""
    n = len(values)
    if n < 2:
        return NAN, NAN, NAN
    mx, my = (n - 1) / 2, mean(values)
    sxx = math.fsum((i - mx) ** 2 for i in range(n))
    syy = math.fsum((v - my) ** 2 for v in values)
    slope = math.fsum((i - mx) * (v - my) for i, v in enumerate(values)) / sxx
    residuals = [v - (my + slope * (i - mx)) for i, v in enumerate(values)]
    flat = std(values) <= 2e-5
    return slope, NAN if flat else 1 - math.fsum(r * r for r in residuals) / syy, residuals[-1]


def correlation(xs, ys):
    if std([x for x in xs if not math.isnan(x)]) <= 2e-5 or std([y for y in ys if not math.isnan(y)]) <= 2e-5:
        return NAN
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if not (math.isnan(x) or math.isnan(y))]
    if len(pairs) < 2:
        return NAN
    mx, my = mean([x for x, _ in pairs]), mean([y for _, y in pairs])
    sxy = math.fsum((x - mx) * (y - my) for x, y in pairs)
    sxx, syy = math.fsum((x - mx) ** 2 for x, _ in pairs), math.fsum((y - my) ** 2 for _, y in pairs)
    return sxy / math.sqrt(sxx * syy) if sxx and syy else NAN


def quantile(values, share):
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rank(values):
    below = sum(v < values[-1] for v in values)
    return (below + (sum(v == values[-1] for v in values) + 1) / 2) / len(values)


def signed_sums(values, t, d):
    """Gains, losses and moves from bar to bar, of the last d bars that have one before them."""
    steps = [values[i] - values[i - 1] for i in range(max(t - d + 1, 1), t + 1)]
    if not steps:
        return NAN, NAN, NAN
    total = math.fsum(abs(s) for s in steps) + EPS
    up, down = (math.fsum(max(sign * s, 0) for s in steps) / total for sign in (1, -1))
    return up, down, up - down


def one_bar(o, h, low, c, w):
    span = h - low + EPS
    return {
        "KMID": (c - o) / o,
        "KLEN": (h - low) / o,
        "KMID2": (c - o) / span,
        "KUP": (h - max(o, c)) / o,
        "KUP2": (h - max(o, c)) / span,
        "KLOW": (min(o, c) - low) / o,
        "KLOW2": (min(o, c) - low) / span,
        "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / span,
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": low / c,
        "VWAP0_hlc3": w / c,
    }


def ratio(a, b):
    return a / b if b else NAN


def window(bars, t, d):
    """Every figure of the window of d bars that ends at bar t."""
    _, h, low, c, v = bars
    first = max(t - d + 1, 0)
    part = slice(first, t + 1)
    now = c[t]
    slope, r_squared, residual = line(c[part])
    top, bottom = max(h[part]), min(low[part])
    place_top, place_bottom = h[part].index(top) + 1, low[part].index(bottom) + 1
    change = [ratio(c[i], c[i - 1]) if i else NAN for i in range(first, t + 1)]
    volume_change = [math.log(v[i] / v[i - 1] + 1) if i and v[i - 1] else NAN for i in range(first, t + 1)]
    moves = [abs(x - 1) * v[first + k] for k, x in enumerate(change) if not math.isnan(x)]
    up = mean([float(i > 0 and c[i] > c[i - 1]) for i in range(first, t + 1)])
    down = mean([float(i > 0 and c[i] < c[i - 1]) for i in range(first, t + 1)])
    sums, volume_sums = signed_sums(c, t, d), signed_sums(v, t, d)
    return {
        "ROC": c[t - d] / now if t >= d else NAN,
        "MA": mean(c[part]) / now,
        "STD": std(c[part]) / now,
        "BETA": slope / now,
        "RSQR": r_squared,
        "RESI": residual / now,
        "MAX": top / now,
        "MIN": bottom / now,
        "QTLU": quantile(c[part], 0.8) / now,
        "QTLD": quantile(c[part], 0.2) / now,
        "RANK": rank(c[part]),
        "RSV": (now - bottom) / (top - bottom + EPS),
        "IMAX": place_top / d,
        "IMIN": place_bottom / d,
        "IMXD": (place_top - place_bottom) / d,
        "CORR": correlation(c[part], [math.log(x + 1) for x in v[part]]),
        "CORD": correlation(change, volume_change),
        "CNTP": up,
        "CNTN": down,
        "CNTD": up - down,
        **dict(zip(("SUMP", "SUMN", "SUMD"), sums, strict=True)),
        "VMA": mean(v[part]) / (v[t] + EPS),
        "VSTD": std(v[part]) / (v[t] + EPS),
        "WVMA": std(moves) / (mean(moves) + EPS),
        **dict(zip(("VSUMP", "VSUMN", "VSUMD"), volume_sums, strict=True)),
    }


def lists_of(prices):
    return [prices[name].tolist() for name in ("open", "high", "low", "close", "volume")]


def naive_alpha158(prices, rows):
    """Name → values at the given rows."""
    bars = lists_of(prices)
    o, h, low, c, _ = bars
    found = {}
    for t in rows:
        figures = one_bar(o[t], h[t], low[t], c[t], (h[t] + low[t] + c[t]) / 3)
        by_length = {d: window(bars, t, d) for d in LENGTHS}
        figures |= {f"{name}{d}": by_length[d][name] for name in by_length[5] for d in LENGTHS}
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def naive_alpha360(prices, t):
    o, h, low, c, v = lists_of(prices)
    vwap = [(h[i] + low[i] + c[i]) / 3 for i in range(len(c))]
    found = {}
    fields = {"CLOSE": c, "OPEN": o, "HIGH": h, "LOW": low, "VWAP": vwap, "VOLUME": v}
    for name, values in fields.items():
        for lag in range(59, -1, -1):
            by = v[t] + EPS if name == "VOLUME" else c[t]
            suffix = "_hlc3" if name == "VWAP" else ""
            found[f"{name}{lag}{suffix}"] = values[t - lag] / by if t >= lag else NAN
    return found
