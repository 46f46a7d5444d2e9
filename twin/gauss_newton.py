"""MAP estimation: Levenberg–Marquardt on exact sensitivities, many fits side by side in lanes.

The function to minimise is −log likelihood + ½ ηᵀΩ⁻¹η; its gradient is exact (sensitivities of the model), its Hessian
Fisher's. A fit is one patient from one starting point; the fits of a block run in step, each with its own damping, so a
fit's result does not depend on its neighbours.
"""
# Numba functions carry no annotations: their arguments are addresses, arrays and counts.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.drive import drive
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .likelihood import deviation

W = LANES
RUNNING, CONVERGED, STALLED, EXHAUSTED, FAILED = range(5)
MAX_ITERATIONS = 100
SMALL = 1e-14  # Newton decrement (nats) at which a fit has converged


@jit
def fill(block, kernel, eta, parameters, base, patient, seg_start, fixed, where, m, derivatives, x, p, out):
    """Parameters (and derivatives by full effect) of every segment of the block's fits, from their effects."""
    fits, K, effects = eta.shape[0], eta.shape[1], where.shape[1]
    first = block * W
    longest = 0
    for lane in range(W):
        who = patient[min(first + lane, fits - 1)]
        longest = max(longest, seg_start[who + 1] - seg_start[who])
    for s in range(longest):
        for lane in range(W):
            i = min(first + lane, fits - 1)
            row = min(seg_start[patient[i]] + s, seg_start[patient[i] + 1] - 1)
            for e in range(effects):
                x[e, lane] = eta[i, where[row, e]]
            for c in range(fixed.shape[1]):
                p[c, lane] = fixed[row, c]
        call_kernel(kernel, 0, x.ctypes.data, p.ctypes.data, 0, 0, out.ctypes.data)
        for lane in range(W):
            i = first + lane
            if i >= fits:
                break
            row = seg_start[patient[i]] + s
            if row >= seg_start[patient[i] + 1]:
                continue
            to = base[i] + s
            for c in range(m):
                parameters[to, c] = out[c, lane]
            if derivatives:
                for c in range(m * K):
                    parameters[to, m + c] = 0.0
                for e in range(effects):
                    k = where[row, e]
                    for c in range(m):
                        parameters[to, m * (k + 1) + c] = out[m * (e + 1) + c, lane]


@jit
def collect(i, eta, Y, y_row, first, count, data, columns, outputs, inverse, g, H):
    """Objective of fit ``i`` at ``eta`` with gradient and Fisher Hessian (written to g and H)."""
    K = eta.shape[0]
    f = 0.0
    for a in range(K):
        g[a] = 0.0
        for b in range(K):
            H[a, b] = inverse[a, b]
            g[a] += inverse[a, b] * eta[b]
        f += 0.5 * g[a] * eta[a]
    for r in range(count):
        at, row = first + r, y_row + r
        column = columns[at, 1]
        y, a_, b_ = data[at, 0], data[at, 1], data[at, 2]
        value, slope, curvature = deviation(y, Y[row, column], columns[at, 0], a_, b_, columns[at, 2] == 1)
        f += value
        for a in range(K):
            sa = Y[row, outputs * (a + 1) + column]
            g[a] += slope * sa
            for b in range(K):
                H[a, b] += curvature * sa * Y[row, outputs * (b + 1) + column]
    return f


@jit
def _newton(H, g, damping, L, d):
    """d = −(H + damping·diag H)⁻¹ g by Cholesky; False where not positive definite."""
    K = g.shape[0]
    for i in range(K):
        for c in range(i + 1):
            s = H[i, c] * (1.0 + damping) if i == c else H[i, c]
            for k in range(c):
                s -= L[i, k] * L[c, k]
            if i == c:
                if not s > 0.0:
                    return False
                L[i, i] = np.sqrt(s)
            else:
                L[i, c] = s / L[c, c]
    for i in range(K):
        s = -g[i]
        for k in range(i):
            s -= L[i, k] * d[k]
        d[i] = s / L[i, i]
    for i in range(K - 1, -1, -1):
        s = d[i]
        for k in range(i + 1, K):
            s -= L[k, i] * d[k]
        d[i] = s / L[i, i]
    return True


@jit
def update(i, f_try, g_try, H_try, eta, trial, f, g, H, damping, state, iterations, L, d):
    """Accept or refuse a trial point of fit ``i`` and propose the next."""
    K = eta.shape[1]
    iterations[i] += 1
    if f_try < f[i]:
        f[i] = f_try
        for a in range(K):
            eta[i, a] = trial[i, a]
            g[i, a] = g_try[a]
            for b in range(K):
                H[i, a, b] = H_try[a, b]
        damping[i] = max(damping[i] * 0.1, 1e-12) if iterations[i] > 1 else 1e-6
    else:
        if not f[i] < np.inf:
            state[i] = FAILED
            return
        damping[i] = max(damping[i] * 10.0, 1e-4)
    if not _newton(H[i], g[i], damping[i], L, d):
        state[i] = FAILED
        return
    decrement = 0.0
    for a in range(K):
        decrement -= 0.5 * g[i, a] * d[a]
        trial[i, a] = eta[i, a] + d[a]
    if decrement < SMALL * (1.0 + abs(f[i])):
        state[i] = CONVERGED if damping[i] < 1e3 else STALLED
    elif damping[i] > 1e10:
        state[i] = STALLED
    elif iterations[i] >= MAX_ITERATIONS:
        state[i] = EXHAUSTED


@jit
def gather(block, status, trial, Y, y_base, patient, obs_start, data, columns, outputs, inverse,
           eta, f, g, H, damping, state, iterations, g_try, H_try, L, d):  # fmt: skip
    """After a run of the block: objectives, acceptance, next trials. Returns whether any fit goes on."""
    fits, going = eta.shape[0], False
    for lane in range(W):
        i = block * W + lane
        if i >= fits or state[i] != RUNNING:
            continue
        who = patient[i]
        first, count = obs_start[who], obs_start[who + 1] - obs_start[who]
        f_try = np.inf
        if status[i] == 0:
            f_try = collect(i, trial[i], Y, y_base[i], first, count, data, columns, outputs, inverse[who], g_try, H_try)
            if not f_try < np.inf:
                f_try = np.inf
        update(i, f_try, g_try, H_try, eta, trial, f, g, H, damping, state, iterations, L, d)
        if state[i] == RUNNING:
            going = True
        else:
            for a in range(eta.shape[1]):
                trial[i, a] = eta[i, a]
    return going


@jit
def fit_blocks(J, first_block, last_block, kernel, parameters, base, seg_start, fixed, where, m, x, p, out,
               status, trial, Y, y_base, patient, obs_start, data, columns, outputs, inverse,
               eta, f, g, H, damping, state, iterations, g_try, H_try, L, d):  # fmt: skip
    """All fits of these blocks to their end."""
    for block in range(first_block, last_block):
        going = True
        while going:
            fill(block, kernel, trial, parameters, base, patient, seg_start, fixed, where, m, True, x, p, out)
            for lane in range(min(W, eta.shape[0] - block * W)):
                status[block * W + lane] = 0
            drive(J, block, block + 1)
            going = gather(block, status, trial, Y, y_base, patient, obs_start, data, columns, outputs, inverse,
                           eta, f, g, H, damping, state, iterations, g_try, H_try, L, d)  # fmt: skip
