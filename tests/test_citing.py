"""Whatever the catalogues hold can be cited."""

import pickle
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import odebridge as ob
from odebridge.bench import Row, RunFolder
from odebridge.citing.entries import ENTRIES
from odebridge.citing.used import USED
from odebridge.integrate.policies import GRADIENTS, policy
from odebridge.methods import METHODS


def test_every_name_has_a_publication():
    names = {*ob.list_methods(), *ob.list_controllers()}
    assert sorted(names - set(USED)) == []
    assert {key for keys in USED.values() for key in keys} <= set(ENTRIES)


@pytest.mark.parametrize("name", [n for n in METHODS if getattr(METHODS[n], "tableau", None) is not None])
def test_years_are_those_of_the_catalogue(name):
    years = set(map(int, re.findall(r"\b(1[6-9]\d\d|20\d\d)\b", METHODS[name].tableau.reference)))
    mine = {ENTRIES[key].year for key in USED[name]}
    assert not years or years & mine, (years, mine)


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_is_whole(key):
    """The year of the key, people as "Last, First", TeX for letters that ASCII lacks, and places that BibTeX can read."""
    one = ENTRIES[key]
    assert key == "odebridge" or key.endswith(str(one.year))
    assert all("," in who or who in ("others", "{The odebridge developers}") for who in one.author.split(" and "))
    assert (one.author + one.title + one.where).isascii()
    assert re.fullmatch(r"(\d+(\(\d+(--\d+)?\))?:)?(\d+(--\d+)?)?", one.place)
    assert re.fullmatch(r"(10\.\d{4,5}/\S+)?", one.doi)
    first, _, last = one.place.rpartition(":")[2].partition("--")
    assert not last or int(first) < int(last)


def test_names_objects_and_runs(capsys, tmp_path):
    text = ob.cite("rodas5p", ob.control.H211B)
    assert capsys.readouterr().out.strip() == text
    assert "@article{steinebach2023," in text
    assert "@article{soderlind2003," in text
    assert text.count("@misc{odebridge,") == 1
    assert text.count("{") == text.count("}")
    assert "gustafsson1994" in ob.cite(METHODS["rodas5p"])  # its own law
    run = RunFolder(tmp_path, "x", {}, "x")
    run.append(Row("x", {"method": "kvaerno5", "gates": ["se"]}))
    assert {"kvaerno2004", "hu2018"} <= set(re.findall(r"@\w+{(\w+),", ob.cite(run.path)))


def test_what_cannot_be_told():
    with pytest.raises(ValueError, match="rodas5p"):
        ob.cite("rodas5")
    with pytest.raises(TypeError, match="name its method"):
        ob.cite(replace(ob.solve("lotka_volterra"), made=None))
    with pytest.raises(TypeError, match="give a solution"):
        ob.cite(3)


class Own(ob.control.Controller):
    """Not in any catalogue."""

    def __call__(self, seen, memory):
        return seen.h, memory


def decay(t, x):
    return -x


ONE = torch.ones(1, 1, dtype=torch.float64)
STATE = ONE.clone().requires_grad_()
SPAN = (0.0, 1.0)
HOW = {
    "its own law": (ONE, SPAN, {"method": "rodas5p"}, ("rodas5p", ("predictive",), "")),
    "wrapped": (ONE, SPAN, {"controller": "h211b", "max_step": 0.5, "discontinuities": (0.3,)}, ("tsit5", ("h211b",), "")),
    "numbers": (ONE, SPAN, {"controller": ob.control.Filter(b=(0.6,))}, ("tsit5", ("Filter",), "")),
    "own": (ONE, SPAN, {"controller": Own(), "method": "heun"}, ("heun", ("Own",), "")),
    "borrowed": (ONE, SPAN, {"method": "scipy:LSODA"}, ("scipy:LSODA", (), "")),
    "replay": (STATE, SPAN, {}, ("tsit5", ("pi",), "replay")),
    "adjoint": (STATE, SPAN, {"gradient": ob.Adjoint("interpolated")}, ("tsit5", ("pi",), "interpolated")),
    "compiled": (ONE, SPAN, {"compile": True}, ("tsit5", ("pi",), "")),
    "grid": (ONE, ob.Grid((0.0, 1.0)), {"method": "rk4"}, ("rk4", ("fixed",), "")),
}


@pytest.mark.parametrize(("x0", "over", "options", "made"), HOW.values(), ids=HOW)
def test_a_solution_knows_how_it_was_made(x0, over, options, made):
    sol = ob.integrate(decay, x0, over, **options)
    assert tuple(sol.made) == made
    assert sol.unbatched().made == sol.made
    text = ob.cite(sol)
    known = [key for name in (made[0], *made[1], made[2]) for key in USED.get(name, ())]
    assert {"odebridge", "huang2023", *known} == set(re.findall(r"@\w+{(\w+),", text))
    assert ("% Own: not in the catalogues" in text) == ("Own" in made[1])
    if not x0.requires_grad:
        assert pickle.loads(pickle.dumps(sol)).made == sol.made


def test_names_among_the_settings_of_a_run_are_found_wherever_they_stand(monkeypatch, tmp_path):
    settings = {"method": "rodas5p", "n": 3, "laws": ["pi", 2.5, None], "more": {"gate": "se", "rtol": 1e-3}}
    citing = sys.modules["odebridge.citing.cite"]
    monkeypatch.setattr(citing, "read", lambda folder: SimpleNamespace(rows=[{"configuration": settings}]))
    assert citing._of_run(tmp_path) == ["rodas5p", "pi", "se"]


def test_gates_of_a_network_are_cited_once():
    gates = ob.control.PerStep([ob.control.SE(4), ob.control.DIA(4), ob.control.SE(4)])
    sol = ob.integrate(decay, torch.randn(2, 4, 3, 3), ob.Steps(3), method="euler", controller=gates)
    assert sol.made.controllers == ("se", "dia")
    assert {"hu2018", "huang2020", "euler1768"} <= set(re.findall(r"@\w+{(\w+),", ob.cite(sol)))


def test_every_policy_of_gradients_has_a_name_that_can_be_cited():
    assert {policy(one) for one in (*GRADIENTS.values(), ob.Forward())} <= set(USED)
