"""What every step of every environment adds up: rewards, costs, who is done. Compiled, in place."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.calls import get, geti, put, puti
from ..pkpd.jit import jit

__all__ = ["decode", "tally"]


@jit
def decode(given, low, half, out):
    """Actions (n, levers) from −1 to 1 to the levers' units; the first row that holds no number, or −1."""
    for i in range(given.shape[0]):
        for j in range(given.shape[1]):
            x = given[i, j]
            if not abs(x) < math.inf:
                return i
            out[i, j] = (min(max(x, -1.0), 1.0) + 1.0) * half[j] + low[j]
    return -1


@jit
def tally(table, width, n, rewards, costs, elapsed, over, horizon, worst, worst_cost):
    """Finish the rows of a step: after the parts come what an end costs (reward, cost), the sums (cost, reward), who is
    terminated and truncated.

    ``terminated`` holds, when this begins, which runs have ended; ``over`` (integers) whose step only begins their next
    episode, 0: nobody's. Returns 1 where somebody is terminated, + 2 where somebody is truncated.
    """
    parts, found = rewards + costs, 0
    for i in range(n):
        steps = geti(elapsed, i) + 1
        puti(elapsed, i, steps)
        terminated, truncated, left = get(table, (parts + 4) * width + i), 0.0, 0.0
        if over != 0 and geti(over, i):
            terminated = 0.0
            for r in range(parts):
                put(table, r * width + i, 0.0)
        elif terminated > 0.0:
            terminated, left, found = 1.0, max(horizon - steps, 0) * 1.0, found | 1
        elif steps >= horizon:
            truncated, found = 1.0, found | 2
        reward, cost = 0.0, 0.0
        for r in range(rewards):
            reward += get(table, r * width + i)
        for r in range(rewards, parts):
            cost += get(table, r * width + i)
        put(table, parts * width + i, -worst * left)
        put(table, (parts + 1) * width + i, worst_cost * left)
        put(table, (parts + 2) * width + i, cost + worst_cost * left)
        put(table, (parts + 3) * width + i, reward - worst * left)
        put(table, (parts + 4) * width + i, terminated)
        put(table, (parts + 5) * width + i, truncated)
    return found
