"""numbalsoda's DOP853 on the people in a folder's ``in.npz``; benchmarks/simulation.py runs it in its environment."""

import json
import statistics
import sys
import time
from pathlib import Path

import numba as nb
import numpy as np
from numbalsoda import dop853, lsoda_sig


@nb.cfunc(lsoda_sig)
def rhs(t, x, dx, p):
    cl, v1, q, v2, ka = p[0], p[1], p[2], p[3], p[4]
    dx[0] = -ka * x[0]
    dx[1] = ka * x[0] - (cl + q) / v1 * x[1] + q / v2 * x[2]
    dx[2] = q / v1 * x[1] - q / v2 * x[2]


address = rhs.address


@nb.njit
def everybody(P, times, doses, end):
    out = np.zeros((P.shape[0], times.shape[0]))
    for i in range(P.shape[0]):
        x = np.zeros(3)
        for d in range(doses.shape[0]):
            start = doses[d]
            stop = doses[d + 1] if d + 1 < doses.shape[0] else end
            x[0] += 100.0
            first = np.searchsorted(times, start)
            last = np.searchsorted(times, stop)
            y, ok = dop853(address, x, times[first : last + 1], P[i], rtol=1e-8, atol=1e-10)
            if not ok:
                raise ValueError("dop853 failed")
            for k in range(1, last - first + 1):
                out[i, first + k] = y[k, 1] / P[i, 1]
            x = y[last - first].copy()
    return out


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    data = np.load(folder / "in.npz")
    P, times, doses = (np.ascontiguousarray(data[k]) for k in ("p", "times", "doses"))
    levels = everybody(P, times, doses, times[-1])
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        everybody(P, times, doses, times[-1])
        seconds.append(time.perf_counter() - start)
    np.save(folder / "out.npy", levels)
    (folder / "out.json").write_text(json.dumps({"patients_per_second": len(P) / statistics.median(seconds)}))
