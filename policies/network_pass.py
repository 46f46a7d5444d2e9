"""The compiled forward pass of a trained network: one patient after another, so that a batch changes no bit."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit

__all__ = ["ACTIVATIONS", "HEADS", "dense", "recurrent"]

ACTIVATIONS = ("tanh", "relu")
# the mean cut off at ±1 (PPO's Gaussian), or squashed (SAC, TQC); or as it is: the likeliest of choices is taken of it
HEADS = ("clip", "tanh", "choice")


@jit
def dense(seen, weights, sizes, activation, head, out):
    """Layers of an MLP.

    Args:
        seen: (n, sizes[0]) float32.
        weights: of layer after layer: the matrix (inputs, outputs) row by row, then the bias; float32.
        sizes: widths from the input to the output.
        activation, head: places in `ACTIVATIONS` and `HEADS`; the head stands after the last layer.
        out: (n, sizes[-1]) float32, written.
    """
    last = len(sizes) - 2
    a, b = np.empty(sizes.max(), np.float32), np.empty(sizes.max(), np.float32)
    for k in range(seen.shape[0]):
        a[: sizes[0]] = seen[k]
        at = 0
        for layer in range(last + 1):
            n, m = sizes[layer], sizes[layer + 1]
            into = b[:m]
            into[:] = weights[at + n * m : at + n * m + m]
            for i in range(n):  # the outputs innermost: a sum over patients' inputs in order, eight outputs at a time
                x = a[i]
                row = weights[at + i * m : at + i * m + m]
                for j in range(m):
                    into[j] += x * row[j]
            at += (n + 1) * m
            if layer < last:
                if activation == 0:
                    for j in range(m):
                        into[j] = np.tanh(into[j])
                else:
                    for j in range(m):
                        into[j] = max(into[j], np.float32(0.0))
            a, b = b, a
        for j in range(sizes[last + 1]):
            if head == 0:
                out[k, j] = min(max(a[j], np.float32(-1.0)), np.float32(1.0))
            else:
                out[k, j] = np.tanh(a[j]) if head == 1 else a[j]


@jit
def recurrent(seen, inner, own, bias, hidden, cell):
    """One step of an LSTM (gates in PyTorch's order: input, forget, candidate, output); its state is written.

    Args:
        seen: (n, inputs) float32. inner: (inputs, 4 h). own: (h, 4 h). bias: (4 h,) float32.
        hidden, cell: (n, h) float32, the state.
    """
    h = hidden.shape[1]
    gates, one = np.empty(4 * h, np.float32), np.float32(1.0)
    for k in range(seen.shape[0]):
        gates[:] = bias
        for i in range(seen.shape[1]):
            for j in range(4 * h):
                gates[j] += seen[k, i] * inner[i, j]
        for i in range(h):
            for j in range(4 * h):
                gates[j] += hidden[k, i] * own[i, j]
        for j in range(h):
            take, keep = one / (one + np.exp(-gates[j])), one / (one + np.exp(-gates[h + j]))
            give = one / (one + np.exp(-gates[3 * h + j]))
            cell[k, j] = keep * cell[k, j] + take * np.tanh(gates[2 * h + j])
            hidden[k, j] = give * np.tanh(cell[k, j])
