"""Propofol and remifentanil in one model: one-drug models side by side, remifentanil's names with a suffix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..pkpd.model import Effect, Output, Parameter, Route, State
from ._three_compartments import AMOUNTS_PROPOFOL, AMOUNTS_REMIFENTANIL, Named, flow, named

__all__ = ["OUTPUTS", "REMIFENTANIL", "ROUTES", "STATES", "concentrations", "flows", "individuals", "suffixed"]

REMIFENTANIL = "_remifentanil"

Item = TypeVar("Item", State, Parameter, Effect)


def suffixed(items: Sequence[Item]) -> tuple[Item, ...]:
    """The declarations of the remifentanil model under the names that they have here."""
    return tuple(replace(item, name=item.name + REMIFENTANIL) for item in items)


STATES = (*AMOUNTS_PROPOFOL, *suffixed(AMOUNTS_REMIFENTANIL))
ROUTES = (Route("propofol", "central"), Route("remifentanil", "central" + REMIFENTANIL))
OUTPUTS = (
    Output("cp", "ug/mL", high=20.0),
    Output("ce", "ug/mL", high=20.0),
    Output("cp_remifentanil", "ng/mL", high=50.0),
    Output("ce_remifentanil", "ng/mL", high=50.0),
)


def individuals(
    propofol: Callable[..., dict[str, Any]],
    remifentanil: Callable[..., dict[str, Any]],
    theta: Any,
    cov: Any,
    eta: Any,
) -> dict[str, Any]:
    """The individual parameters of both one-drug models."""
    other = remifentanil(Named(theta, REMIFENTANIL), cov, Named(eta, REMIFENTANIL))
    return {**propofol(theta, cov, eta), **named(other, REMIFENTANIL)}


def flows(x: Any, p: Any) -> dict[str, Any]:
    """Time derivatives of both drugs; neither changes the other's kinetics."""
    return {**flow(x, p), **named(flow(Named(x, REMIFENTANIL), Named(p, REMIFENTANIL)), REMIFENTANIL)}


def concentrations(x: Any, p: Any) -> dict[str, Any]:
    """Plasma and effect-site concentrations of both."""
    return {
        "cp": x.central / p.v1,
        "ce": x.effect,
        "cp_remifentanil": x.central_remifentanil / p.v1_remifentanil,
        "ce_remifentanil": x.effect_remifentanil,
    }
