"""What every world's compiled loop stands on: the job table, the plant of a block, admission of a patient to a lane.

A job is one int64 array of sizes and addresses (as in `pkpd.job`), so that a loop is called with one address and two
block numbers. Blocks are 8 patients; every array that belongs to a block is (blocks, rows, 8), and what goes out to
Python is (rows, patients).
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

from ..pkpd.calls import call_kernel, get, geti, put
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import march, prepare
from .lane_draws import ROWS

LINE = 8 * LANES  # bytes of a row

(
    BLOCKS,
    PEOPLE,  # lanes that hold a patient; the last block's others idle
    TICKS,  # of a control interval
    KERNEL,  # one tick of a block's plant
    PAIR,  # of two blocks' at once, or 0
    PROPAGATOR,
    OUTPUTS,
    ROWS_X,
    ROWS_P,
    ROWS_U,
    ROWS_K,
    ROWS_Y,
    ACTIONS,
    NUMBERS,  # floats: tick, integrator's step
    X,
    P,
    U,
    K,
    Y,
    S,
    CLOCK,  # each patient's time since admission, in whole ticks
    ENDED,  # 0, or why: LOW, HIGH, NOT_FINITE
    KEY,  # seed and patient number
    LIBRARY_P,  # (people, rows_p)
    LIBRARY_X,
    WHO,  # which of the library stands in each lane
    MASK,  # lanes to admit
    ACTION,  # (patients, actions)
    OUT,  # (rows, patients): see O_READING …
    TRUTH,  # (ticks, patients)
    TRUE,  # row of the output that is scored
    SENSED,  # row of the output that the sensor reads
    FAULTS,  # how many for each patient
    FAULT,
    DRAW,  # kernel of the sensor's random numbers (`virtual.lane_draws`)
    COUNTS,  # its counters, integers: (blocks, 1, 8)
    DRAWN,  # what it wrote: (blocks, lane_draws.ROWS, 8)
    VARY,  # what may differ from lane to lane: (blocks, VARY_ROWS, 8)
    VARY_ROWS,
    VARY_OF,  # (rows_p,) integers: the row of VARY that multiplies a parameter, or -1
) = range(40)
OWN = 40  # a world's own slots start here

# rows of what a world says after a step; the last one begins the actions' rows, delivered then pending
O_READING, O_STAMP, O_QUALITY, O_ANNOUNCED, O_PRESSURE, O_ENDED, O_CLOCK, O_DELIVERED = range(8)

RUNNING, LOW, HIGH, NOT_FINITE = range(4)


@jit
def block(job, slot, rows, b):
    """Address of a block's rows in the array of a slot."""
    return geti(job, slot) + b * rows * LINE


@jit
def advance(job, b, count):
    """One tick of the plants of one or two blocks with their inputs as they stand, then their outputs."""
    together = 2 if count == 2 and geti(job, PAIR) != 0 else 1
    for q in range(b, b + count, together):
        march(
            geti(job, PAIR) if together == 2 else geti(job, KERNEL),
            block(job, S, 2, q),
            block(job, X, geti(job, ROWS_X), q),
            block(job, P, geti(job, ROWS_P), q),
            block(job, U, geti(job, ROWS_U), q),
            block(job, K, geti(job, ROWS_K), q),
            0.0,  # models of loops do not read time (`World` refuses others): lanes keep clocks of their own
            get(geti(job, NUMBERS), 1),
        )
    for q in range(b, b + count):
        outputs_of(job, q)


@jit
def outputs_of(job, b):
    """The outputs of a block as it stands."""
    call_kernel(
        geti(job, OUTPUTS),
        block(job, S, 2, b),
        block(job, X, geti(job, ROWS_X), b),
        block(job, P, geti(job, ROWS_P), b),
        block(job, U, geti(job, ROWS_U), b),
        block(job, K, geti(job, ROWS_K), b),
        block(job, Y, geti(job, ROWS_Y), b),
    )


@jit
def propagate(job, b):
    """Make a block's propagator anew, after its parameters changed."""
    k, s = block(job, K, geti(job, ROWS_K), b), block(job, S, 2, b)
    prepare(geti(job, PROPAGATOR), s, block(job, P, geti(job, ROWS_P), b), k, get(geti(job, NUMBERS), 1))


@jit
def draw(job, b):
    """The sensor's random numbers of a block, at ``COUNTS``: address of the rows of four uniforms, then of normals."""
    seeds, out = geti(job, KEY) + b * LINE, block(job, DRAWN, ROWS, b)
    patients = seeds + geti(job, BLOCKS) * LINE
    call_kernel(geti(job, DRAW), seeds, patients, block(job, COUNTS, 1, b), 0, 0, out)
    return out


@jit
def varied(job, b, row, lane):
    """A row of what may differ from lane to lane (`World.vary`)."""
    return get(block(job, VARY, geti(job, VARY_ROWS), b), row * LANES + lane)


@jit
def share_of(job, b, r, lane):
    """The factor on parameter r of a lane's person."""
    of = geti(geti(job, VARY_OF), r)
    return varied(job, b, of, lane) if of >= 0 else 1.0


@jit
def admit(job, b, lane):
    """Put the person whom ``WHO`` names into a lane: parameters, starting state, clock at 0."""
    i = b * LANES + lane
    who = geti(geti(job, WHO), i)
    rows, m = geti(job, ROWS_X), geti(job, ROWS_P)
    for r in range(rows):
        put(block(job, X, rows, b), r * LANES + lane, get(geti(job, LIBRARY_X), who * rows + r))
    for r in range(m):
        value = get(geti(job, LIBRARY_P), who * m + r) * share_of(job, b, r, lane)
        put(block(job, P, m, b), r * LANES + lane, value)
    for r in range(geti(job, ROWS_U)):
        put(block(job, U, geti(job, ROWS_U), b), r * LANES + lane, 0.0)
    put(geti(job, CLOCK), i, 0.0)
    put(geti(job, ENDED), i, 0.0)


@jit
def say(out, width, i, reading, stamp, quality, announced, pressure, ended, minutes):
    """Write a patient's observation (all but what was delivered) into the (rows, width) array at ``out``."""
    put(out, O_READING * width + i, reading)
    put(out, O_STAMP * width + i, stamp)
    put(out, O_QUALITY * width + i, quality)
    put(out, O_ANNOUNCED * width + i, announced)
    put(out, O_PRESSURE * width + i, pressure)
    put(out, O_ENDED * width + i, ended)
    put(out, O_CLOCK * width + i, minutes)
