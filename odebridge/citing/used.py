"""Which publications stand behind a name of the catalogues: keys of `ENTRIES`."""

from __future__ import annotations

USED: dict[str, tuple[str, ...]] = {
    "euler": ("euler1768",),
    "heun": ("heun1900",), "rk4": ("kutta1901",), "bosh3": ("bogacki1989",), "dopri5": ("dormand1980",),
    "tsit5": ("tsitouras2011",), "dopri8": ("prince1981",), "rosenbrock23": ("shampine1997",), "rodas4": ("hairer1996",),
    "rodas3p": ("steinebach2024",), "rodas4pw": ("steinebach2026",), "ros34pw2": ("rang2005",), "rodas5p": ("steinebach2023",),
    "tr_bdf2": ("hosea1996",), "kvaerno3": ("kvaerno2004",), "kvaerno4": ("kvaerno2004",), "kvaerno5": ("kvaerno2004",),
    "kencarp3": ("kennedy2003",), "kencarp4": ("kennedy2003",), "kencarp5": ("kennedy2003",), "radau3": ("hairer1999",),
    "radau5": ("hairer1999",), "radau9": ("hairer1999",), "gauss4": ("butcher1964",), "gauss6": ("butcher1964",),
    "bdf": ("shampine1997",), "rkc2": ("sommeijer1998",), "rkl2": ("meyer2014",), "verlet": ("hairer2006",),
    "leapfrog": ("hairer2006",), "yoshida4": ("hairer2006",), "explicit_adams": ("hairer1993",),
    "implicit_adams": ("hairer1993",),
    "auto": ("shampine1977", "tsitouras2011", "steinebach2023"),
    "scipy:RK45": ("virtanen2020", "dormand1980"), "scipy:Radau": ("virtanen2020", "hairer1996"),
    "scipy:BDF": ("virtanen2020", "shampine1997"), "scipy:LSODA": ("virtanen2020",), "sundials:BDF": ("hindmarsh2005",),
    "fixed": (), "i": ("soderlind2003",), "pi": ("gustafsson1991",), "pi34": ("gustafsson1991",), "pi42": ("soderlind2003",),
    "pid": ("kennedy2003",), "h211b": ("soderlind2003",), "h312": ("soderlind2003",), "predictive": ("gustafsson1994",),
    "steady": ("hairer1996",), "Filter": ("soderlind2003",),
    "replay": ("hairer1993",), "direct": (), "forward": ("hairer1993",), "adjoint": ("chen2018",),
    "interpolated": ("chen2018", "daulbaev2020"),
    "constant": ("huang2023",), "half": ("huang2023",), "se": ("hu2018",), "eca": ("wang2020",), "srm": ("lee2019",),
    "cbam": ("woo2018",), "spa": ("guo2020",), "ie": ("liang2020",), "dia": ("huang2020",), "sge": ("li2019",),
    "tsc": ("yang2020",), "stepnet": ("huang2023",), "resnet": ("e2017",),
}  # fmt: skip
