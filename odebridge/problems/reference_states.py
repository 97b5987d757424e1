"""End states of small systems: data, written by benchmarks/references.py; do not edit by hand."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """An end state, how many of its digits two computations agree on, and which two."""

    digits: float
    ways: str
    end: tuple[float, ...]


def numbers(text: str) -> tuple[float, ...]:
    """Floats between white space."""
    return tuple(map(float, text.split()))


STATES: dict[str, Known] = {
    "e5": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        2.814137173186364e-18 1.5712632888969015e-18 1.5712632888968584e-18 0.0
        """),
    ),
    "chemical_akzo_nobel": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.11507949206617021 0.001203831471567715 0.16115628874079743 0.00036561564212492833 0.017080108852644042
        0.0048735313103074555
        """),
    ),
    "transistor_amplifier": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -0.005562145012261628 3.0065224719030432 2.849958788608129 2.9264225362062417 2.704617865010555
        2.761837778393143 4.770927631616773 1.2369958680915474
        """),
    ),
    "stiff_a2": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.09999912552938292 0.1999982511574009 0.2999975543185246 0.3999971057520932 0.499996950994161
        0.599997105754922 0.6999975543238952 0.799998251164768 0.8999991255379987
        """),
    ),
    "stiff_a3": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -0.001353352661867258 0.013685269178915443 1.5037253484551432 0.13533528323661267
        """),
    ),
    "stiff_b1": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        1.0041686411481091e-09 1.799999887618427e-08 0.0 0.0
        """),
    ),
    "stiff_b5": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.0 0.0 0.0 2.061153622438558e-09 4.5399929762484854e-05
        0.13533528323661267
        """),
    ),
    "stiff_c5": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        1.9999999979388463 7.999999981678634 135.99999938177135 37127.999659677625
        """),
    ),
    "stiff_d4": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.5976546980655812 1.4023434085478783 -1.8933865404351958e-06
        """),
    ),
    "stiff_d6": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.8523995440749992 0.14760039819412754 5.7730873339499876e-08
        """),
    ),
    "stiff_e1": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        9.999999999999999e-09 0.0 0.0 0.0
        """),
    ),
    "stiff_e3": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.004253052196880126 0.005317019547493398 26.276477487491075
        """),
    ),
    "stiff_f1": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        1211.1727447760043 1.1001691975914737e-12 1208.6807530526448 0.0003115264808475207
        """),
    ),
    "stiff_f3": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        3.236067653893024e-13 2.360679774997897e-07 7.639319461070156e-14 7.639319461070157e-07 3.236067653893024e-06
        """),
    ),
    "stiff_f5": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        1.7135642846907118e-07 0.0037135630711606755 0.006189271785267792 9.545143571530928e-06
        """),
    ),
    "lotka_volterra": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        1.0263447675750894 0.9096910781360417
        """),
    ),
    "lorenz": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -6.974570472684818 -7.021060890822529 25.119616492127598
        """),
    ),
    "rossler": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -4.047797600336277 7.106440067559797 0.029889576332390456
        """),
    ),
    "duffing": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.9665753623614507 0.052029755428417195
        """),
    ),
    "fitzhugh_nagumo": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -0.6542477723154551 -0.2287932613428105
        """),
    ),
    "hodgkin_huxley": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        -64.94691956536491 0.4072105280941877 0.050430095237781615 0.4423302263176224
        """),
    ),
    "henon_heiles": Known(
        15.0,
        "Radau IIA collocation in 60-digit arithmetic",
        numbers("""
        0.4144376725370633 0.0690709914602163 0.02046577071535184 -0.2426472965529133
        """),
    ),
}
