"""A whole interval in one kernel: the same numbers as step by step, alone or in a pair, with constants taken out."""

import ctypes

import casadi as ca
import numpy as np
import pytest
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.interval import COSTLY, LONG, constants_of, interval_ir, long_first
from doseloop.pkpd.lanes import LANES, Graph, Instruction, fused
from doseloop.pkpd.march import march_of, pack, unpack
from doseloop.pkpd.objects import address
from doseloop.pkpd.population import starting_states
from doseloop.pkpd.system import system
from doseloop.pkpd.trace import graph_of

MODELS = ("glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004", "propofol_eleveld2018")


def call(address, *arguments):
    pointers = [None if a is None else a.ctypes.data for a in arguments]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(address)(*pointers)


class Case:
    """Two blocks of people under constant inputs."""

    def __init__(self, name, interval=5.0):
        self.model = load(name)
        self.how = march_of(self.model, interval)
        S, rng = self.how.system, np.random.default_rng(3)
        eta = 0.3 * rng.multivariate_normal(np.zeros(len(self.model.effects)), self.model.omega, 2 * LANES)
        p = individuals(self.model, None, eta)
        self.p, self.x = pack(p), pack(starting_states(S, p) * rng.uniform(0.8, 1.2, (len(p), S.rows_x)))
        usual = [*(i.usual for i in self.model.inputs), *(1e-3 for _ in self.model.routes)]
        self.u = np.ascontiguousarray(np.tile(np.array(usual)[None, :, None], (2, 1, LANES)))
        self.s = np.zeros((2, LANES))
        self.k = np.zeros((2, self.how.rows_k, LANES))
        for b in range(2):
            self.s[0] = self.how.h
            if self.how.propagator:
                call(self.how.propagator, self.s, None, self.p[b], None, None, self.k[b])
        self.s[0], self.s[1] = 0.0, self.how.h

    def alone(self):
        x = self.x.copy()
        for b in range(2):
            call(self.how.kernel, self.s, x[b], self.p[b], self.u[b], self.k[b], x[b])
        return x


@pytest.mark.parametrize("name", MODELS)
def test_a_pair_has_the_bits_of_blocks_alone(name):
    case = Case(name)
    x = case.x.copy()
    call(case.how.system.interval(case.how.steps, pair=True), case.s, x, case.p, case.u, case.k, x)
    assert np.array_equal(x, case.alone())
    assert not np.array_equal(x, case.x)


@pytest.mark.parametrize("name", MODELS[:2])
def test_an_interval_is_its_steps(name):
    """To rounding: a quotient of parameters is taken once and multiplied by."""
    case = Case(name)
    assert case.how.steps > 1
    x, out = case.x.copy(), np.zeros_like(case.x[0])
    for b in range(2):
        for _ in range(case.how.steps):
            call(case.how.system.kernel("rk4"), case.s, x[b], case.p[b], case.u[b], None, out)
            x[b] = out
    assert np.allclose(case.alone(), x, rtol=1e-12, atol=1e-12)


def test_time_runs_within_an_interval():
    """A right-hand side that reads t: ∫t dt by the kernel's own clock."""
    s, x, none = ca.SX.sym("s", 2), ca.SX.sym("x", 1), ca.SX(0, 1)
    step = graph_of("step", [s, x, none, none, none], x + s[1] * (s[0] + s[1] / 2))  # exact for dx/dt = t
    scalars, value = np.zeros((2, LANES)), np.zeros((1, LANES))
    scalars[0], scalars[1] = np.arange(LANES), 0.25
    call(address("time", interval_ir(step, 8), "test"), scalars, value, None, None, None, value)
    assert np.allclose(value[0], ((np.arange(LANES) + 2.0) ** 2 - np.arange(LANES) ** 2) / 2, rtol=1e-14)


@pytest.mark.parametrize("name", MODELS[:2])
def test_constants_hang_on_parameters_alone_and_cost(name):
    S = system(load(name))
    before, after = constants_of(S.rk4())
    assert before.out == after.rows[4] > 0
    assert {i.args[0] for i in before.instructions if i.word == "input"} == {2}
    assert any(i.word in COSTLY for i in before.instructions)
    costly = sum(i.word in COSTLY for i in after.instructions)
    assert costly + sum(i.word in COSTLY for i in before.instructions) <= sum(i.word in COSTLY for i in fused(S.rk4()))


def test_long_words_come_first_and_nothing_else_changes():
    steps = fused(constants_of(system(load("glucose_t1d_uvapadova2008")).rk4())[1])
    got = long_first(steps)
    assert sorted(map(id, got)) == sorted(map(id, steps))
    known = set()
    for i in got:
        assert i.word == "input" or known.issuperset(i.args)
        known.add(None if i.word == "output" else i.into)
    last = lambda order: max(j for j, i in enumerate(order) if i.word in LONG)  # noqa: E731
    assert last(got) < last(steps)
    before, after = ([j for j, i in enumerate(order) if i.word in LONG] for order in (steps, got))
    assert len(before) == 8  # two a stage, now nearer to one another
    assert all(after[k + 1] - after[k] < before[k + 1] - before[k] for k in range(0, 8, 2))


def test_what_is_fused_and_what_not():
    """A product used once goes into its sum; one that is used twice stays; both branches of a where become one."""
    x = [Instruction("input", j, (1, j)) for j in range(3)]
    once = [*x, Instruction("mul", 3, (0, 1)), Instruction("sub", 4, (2, 3)), Instruction("output", 0, (4,))]
    assert [i.word for i in fused(Graph("f", tuple(once), (0, 3, 0, 0, 0), 1))][-2:] == ["fnma", "output"]
    twice = [*once, Instruction("output", 1, (3,))]
    assert [i.word for i in fused(Graph("f", tuple(twice), (0, 3, 0, 0, 0), 2))].count("mul") == 1
    branches = [
        *x,
        Instruction("if", 3, (0, 1)),
        Instruction("not", 4, (0,)),
        Instruction("if", 5, (4, 2)),
        Instruction("add", 6, (3, 5)),
        Instruction("output", 0, (6,)),
    ]
    words = [i.word for i in fused(Graph("f", tuple(branches), (0, 3, 0, 0, 0), 1))]
    assert words.count("where") == 1
    assert "if" not in words
    other = [*branches[:4], Instruction("not", 4, (1,)), *branches[5:]]  # not the same condition
    assert "where" not in [i.word for i in fused(Graph("f", tuple(other), (0, 3, 0, 0, 0), 1))]


def test_states_come_back_in_their_order():
    case = Case(MODELS[0])
    assert unpack(case.alone(), 2 * LANES).shape == (2 * LANES, len(case.model.states))
