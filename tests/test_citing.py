"""Whatever the catalogues hold can be cited."""

import re

import pytest

import odebridge as ob
from odebridge.bench import Row, RunFolder
from odebridge.citing.entries import ENTRIES
from odebridge.citing.used import USED
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
    sol = ob.solve("lotka_volterra")
    with pytest.raises(TypeError, match="name it"):
        ob.cite(sol)
    with pytest.raises(TypeError, match="give a name"):
        ob.cite(3)
