"""Vancomycin in hospital patients with and without haemodialysis: Goti and others 2018, two compartments.

The paper's full text was not seen. Its Table 2 is taken as transcribed, independently, by PKPDsim (InsightRX),
nlmixr2lib, posologyr, an Adelaide mrgsolve file and Tong 2026 (supplementary Table S1).

Vp is 38.4 L for everybody: Table 2 prints no weight term for it and all but one transcription leave it so. nlmixr2lib
alone scales it by weight/70, from a sentence in the Methods. At 70 kg they are the same.
"""

from __future__ import annotations

import math
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import const, exp, maximum, minimum, power, where
from ..pkpd.physiology import cockcroft_gault

TABLE = "Goti 2018 Table 2 (as transcribed by PKPDsim, nlmixr2lib and others; full text not seen)"
TABLE1 = "Goti 2018 Table 1 (as transcribed by two; full text not seen)"
LOG = "variance log(1 + CV^2): the simulated CV is then the printed one (others square the CV; the paper does not say)"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """CL by creatinine clearance and dialysis, Vc by weight and dialysis."""
    # Methods print "over 60"; the erratum (PMID 31306395) corrects it to 65
    floored = where(cov.age > const(65, "year"), maximum(cov.scr, const(1.0, "mg/dL")), cov.scr)
    crcl = minimum(cockcroft_gault(cov.age, cov.weight, cov.sex, floored), const(150, "mL/min"))
    return {
        "cl": theta.cl
        * power(crcl / const(120, "mL/min"), theta.cl_crcl)
        * power(theta.cl_dialysis, cov.dialysis)
        * exp(eta.cl),
        "v1": theta.v1 * cov.weight / const(70, "kg") * power(theta.v1_dialysis, cov.dialysis) * exp(eta.v1),
        "q": theta.q,
        "v2": theta.v2 * exp(eta.v2),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Two compartments, elimination from the central one."""
    exchange = p.q / p.v1 * x.central - p.q / p.v2 * x.peripheral
    return {"central": -p.cl / p.v1 * x.central - exchange, "peripheral": exchange}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Serum concentration."""
    return {"concentration": x.central / p.v1}


def _scr(crcl: float, age: float, weight: float) -> float:
    return (140 - age) * weight / (72 * crcl)


def _printed_covariates(crcl: float, dialysis: int) -> dict[str, float]:
    return {"age": 40, "weight": 70, "sex": 0, "scr": _scr(crcl, 40, 70), "dialysis": dialysis}


MODEL = Model(
    id="vancomycin_adult_goti2018",
    drug="vancomycin",
    title="Hospitalized patients with and without hemodialysis have markedly different vancomycin pharmacokinetics",
    citation="Goti V, Chaturvedula A, Fossler MJ, Mok S, Jacob JT. Ther Drug Monit 2018;40:212-221, erratum PMID "
    "31306395. doi:10.1097/FTD.0000000000000490",
    time_unit="h",
    states=[State("central", "mg"), State("peripheral", "mg")],
    parameters=[
        Parameter("cl", 4.5, "L/h", f"{TABLE}: CL at CrCL 120 mL/min"),
        Parameter("cl_crcl", 0.8, "1", f"{TABLE}: power of CrCL/120"),
        Parameter("cl_dialysis", 0.7, "1", f"{TABLE}: factor on CL in haemodialysis"),
        Parameter("v1", 58.4, "L", f"{TABLE}: Vc at 70 kg"),
        Parameter("v1_dialysis", 0.5, "1", f"{TABLE}: factor on Vc in haemodialysis"),
        Parameter("q", 6.5, "L/h", TABLE),
        Parameter("v2", 38.4, "L", f"{TABLE}: Vp; no weight term is printed (nlmixr2lib scales it by weight/70)"),
    ],
    covariates=[
        Covariate("weight", "kg", 79, 33, 255, f"{TABLE1}: median 79, 33-255; actual weight", ("WT", "WEIGHT")),
        Covariate("age", "year", 57, 17, 101, f"{TABLE1}: median 57, 17-101", ("AGE",)),
        Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX",)),
        Covariate(
            "scr",
            "mg/dL",
            1.47,
            0.3,
            15,
            "serum creatinine; 1.47 gives Table 1's median CrCL of 62 mL/min; its own "
            "range was not in what we read: a wide adult one",
            ("SCR", "CREATININE", "SCREAT"),
        ),
        Covariate(
            "dialysis",
            "1",
            0,
            0,
            1,
            "0 none, 1 intermittent high-flux haemodialysis: a property of the patient, sessions are not modelled",
            ("DIAL",),
        ),
    ],
    effects=[
        Effect("cl", math.log1p(0.398**2), f"{TABLE}: 39.8 %CV; {LOG}"),
        Effect("v1", math.log1p(0.816**2), f"{TABLE}: 81.6 %CV; {LOG}"),
        Effect("v2", math.log1p(0.571**2), f"{TABLE}: 57.1 %CV; {LOG}"),
    ],
    individual_units={"cl": "L/h", "v1": "L", "q": "L/h", "v2": "L"},
    individual=individual,
    rhs=rhs,
    outputs=[
        Output(
            "concentration",
            "mg/L",
            Residual(
                additive=3.4,
                proportional=0.227,
                source=f"{TABLE}: 22.7 % and 3.4 mg/L, variances add (posologyr adds the SDs; InsightRX replaces both)",
            ),
            low=0.0,
            high=200.0,
        )
    ],
    outputs_of=outputs,
    routes=[Route("iv", "central")],
    printed=[
        Printed("CL at CrCL 120 mL/min, L/h", 4.5, 2, TABLE, lambda p: p.cl, _printed_covariates(120, 0)),
        Printed(
            "steady-state volume without dialysis, L/kg",
            1.4,
            2,
            "Goti 2018 Discussion (as transcribed by two)",
            lambda p: (p.v1 + p.v2) / 70,
            _printed_covariates(120, 0),
        ),
        Printed(
            "steady-state volume in dialysis, L/kg",
            1.0,
            1,
            "Goti 2018 Discussion (as transcribed by two)",
            lambda p: (p.v1 + p.v2) / 70,
            _printed_covariates(10, 1),
        ),
    ],
    notes="n = 1812, 2765 levels. Cockcroft-Gault with actual weight (InsightRX's coding; Methods not "
    "seen), CrCL capped at "
    "150 mL/min (range 4-150), SCr below 1 mg/dL taken as 1 over age 65. The paper's final run ended in "
    "rounding errors "
    "with a completed covariance step (nlmixr2lib, quoting the Results).",
)
