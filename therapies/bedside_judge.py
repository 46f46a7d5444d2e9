"""The ward gate's compiled steps by the address of its job: for the gate, and inside an environment's own step."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.calls import flags_at, floats_at, get, geti, wholes_at
from ..pkpd.jit import jit
from ..safety.kernel import Bounds, Numbers, Row, Table, judge
from .bedside_rules import Kinetics, Memory, gate_predict, gate_take

__all__ = ["bedside_judge", "bedside_see", "memory_of"]

(
    PATIENTS,
    KEPT,  # intervals of the record
    MEASURED,  # how many measurements, harms and windows the table has
    HARMS,
    WINDOWS,
    FAULTS,  # of the request, and whether the weight's unit is wrong: of the table
    WRONG_WEIGHT,
    RULES,  # floats: the fields of `Kinetics`
    LIMITS,  # floats: the fields of `Table`
    KINDS,  # (harms,) integers, and floats
    ABOVE,
    WEIGHT,  # (patients,)
    MADE,
    ALLOWED,
    MASKS,
    EVERYBODY,  # (patients,) integers, 1
    MEMORY,  # the arrays of `Memory`, `Numbers`, `Bounds`, `Row`
) = range(17)
NUMBERS = MEMORY + len(Memory._fields)
BOUNDS = NUMBERS + len(Numbers._fields)
ROW = BOUNDS + len(Bounds._fields)
SLOTS = ROW + len(Row._fields)


@jit
def _rules(job):
    f = geti(job, RULES)
    return Kinetics(
        get(f, 0), get(f, 1), get(f, 2), get(f, 3), get(f, 4), get(f, 5),
        get(f, 6), get(f, 7), get(f, 8), get(f, 9), get(f, 10), get(f, 11),
    )  # fmt: skip


@jit
def _table(job):
    f = geti(job, LIMITS)
    return Table(
        get(f, 0), get(f, 1), get(f, 2), get(f, 3), get(f, 4), get(f, 5), get(f, 6), get(f, 7), get(f, 8), get(f, 9),
        get(f, 10), get(f, 11), get(f, 12), get(f, 13) > 0.0, get(f, 14), get(f, 15) > 0.0, get(f, 16), get(f, 17),
        get(f, 18), get(f, 19), get(f, 20), get(f, 21), get(f, 22),
    )  # fmt: skip


@jit
def memory_of(job):
    """The record of everybody."""
    n, k, at = geti(job, PATIENTS), geti(job, KEPT), job + 8 * MEMORY
    return Memory(
        wholes_at(geti(at, 0), (n,)), floats_at(geti(at, 1), (n, k)), floats_at(geti(at, 2), (n, k)),
        floats_at(geti(at, 3), (n, k)), floats_at(geti(at, 4), (n, k)), floats_at(geti(at, 5), (n, k)),
        floats_at(geti(at, 6), (n, k)), floats_at(geti(at, 7), (n,)), floats_at(geti(at, 8), (n,)),
        floats_at(geti(at, 9), (n,)), floats_at(geti(at, 10), (n,)), floats_at(geti(at, 11), (n,)),
        floats_at(geti(at, 12), (n,)),
    )  # fmt: skip


@jit
def _row(job, field, first, n):
    """Field ``field`` of `Numbers` for n patients from ``first`` on: (n,)."""
    return floats_at(geti(job, NUMBERS + field) + 8 * first, (n,))


@jit
def _rows(job, field, first, n, many):
    return floats_at(geti(job, NUMBERS + field) + 8 * many * first, (n, many))


@jit
def _flags(job, field, first, n, many):
    return flags_at(geti(job, NUMBERS + field) + many * first, (n, many))


@jit
def _numbers(job, first, n):
    k, m, h, w = geti(job, KEPT), geti(job, MEASURED), geti(job, HARMS), geti(job, WINDOWS)
    return Numbers(
        _row(job, 0, first, n), _row(job, 1, first, n), _row(job, 2, first, n), _row(job, 3, first, n),
        _row(job, 4, first, n), _row(job, 5, first, n), _rows(job, 6, first, n, k), _rows(job, 7, first, n, k),
        _rows(job, 8, first, n, k), _rows(job, 9, first, n, m), _rows(job, 10, first, n, m),
        _rows(job, 11, first, n, m), _rows(job, 12, first, n, m), _rows(job, 13, first, n, m),
        _rows(job, 14, first, n, h), _rows(job, 15, first, n, 0), _rows(job, 16, first, n, 0),
        _rows(job, 17, first, n, 0), _flags(job, 18, first, n, k), _flags(job, 19, first, n, k),
        _flags(job, 20, first, n, k), _flags(job, 21, first, n, m), _flags(job, 22, first, n, m),
        _flags(job, 23, first, n, h), _flags(job, 24, first, n, 0),
        wholes_at(geti(job, NUMBERS + 25) + 8 * first, (n,)), _row(job, 26, first, n), _row(job, 27, first, n),
        _row(job, 28, first, n), _rows(job, 29, first, n, w), _rows(job, 30, first, n, 0),
    )  # fmt: skip


@jit
def _bounds(job):
    at, w = job + 8 * BOUNDS, geti(job, WINDOWS)
    none = floats_at(geti(at, 4), (0,))
    return Bounds(
        floats_at(geti(at, 0), (w,)), floats_at(geti(at, 1), (w,)), floats_at(geti(at, 2), (w,)),
        floats_at(geti(at, 3), (geti(job, HARMS),)), none, none, none, flags_at(geti(at, 7), (0,)),
    )  # fmt: skip


@jit
def _column(job, field):
    return floats_at(geti(job, ROW + field), (geti(job, MEASURED),))


@jit
def _measured(job):
    return Row(
        _column(job, 0), _column(job, 1), _column(job, 2), _column(job, 3), _column(job, 4), _column(job, 5),
        _column(job, 6), _column(job, 7), _column(job, 8), _column(job, 9),
        flags_at(geti(job, ROW + 10), (geti(job, MEASURED),)),
    )  # fmt: skip


@jit
def bedside_judge(job, first, last):
    """Judge the asked doses of patients first … last − 1: how long they run in, what harm they do, what is allowed."""
    n, h = geti(job, PATIENTS), geti(job, HARMS)
    if last <= first:
        return
    weight, asked = floats_at(geti(job, WEIGHT), (n,)), floats_at(geti(job, NUMBERS), (n,))
    kinds, above = wholes_at(geti(job, KINDS), (h,)), floats_at(geti(job, ABOVE), (h,))
    duration = floats_at(geti(job, NUMBERS + 2), (n,))
    probability = floats_at(geti(job, NUMBERS + 14), (n, h))
    gate_predict(_rules(job), memory_of(job), weight, asked, kinds, above, duration, probability, first, last)
    judge(
        _numbers(job, first, last - first),
        geti(job, FAULTS),
        geti(job, WRONG_WEIGHT) > 0,
        _table(job),
        _bounds(job),
        _measured(job),
        floats_at(geti(job, ALLOWED) + 8 * first, (last - first,)),
        wholes_at(geti(job, MASKS) + 8 * first, (last - first,)),
    )


@jit
def bedside_see(job, serum, given, length, clock, values, times, which, first, last):
    """Take in what is seen of the patients first … last − 1: see `bedside_rules.gate_take` for the arrays."""
    n, m = geti(job, PATIENTS), geti(job, MEASURED)
    weight, made = floats_at(geti(job, WEIGHT), (n,)), floats_at(geti(job, MADE), (n,))
    now, measured = floats_at(geti(job, NUMBERS + 3), (n,)), flags_at(geti(job, NUMBERS + 21), (n, m))
    newest, when = floats_at(geti(job, NUMBERS + 9), (n, m)), floats_at(geti(job, NUMBERS + 10), (n, m))
    for i in range(first, last):
        now[i] = clock[i]
        if m > 0:
            newest[i, 0], when[i, 0], measured[i, 0] = values[0, i], times[0, i], math.isfinite(values[0, i])
    gate_take(_rules(job), memory_of(job), weight, made, serum, given, length, clock, values, times, which, first, last)
