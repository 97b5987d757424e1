"""Rosenbrock tableaus. Every one is checked by rooted trees in tests/contract/test_tableaus.py."""

from __future__ import annotations

import math

import numpy as np

from odebridge.tableaus.base import RosenbrockTableau, Row


def transformed(
    *,
    name: str,
    order: int,
    embedded_order: int,
    alpha: tuple[Row, ...],
    gamma: tuple[Row, ...],
    b: Row,
    b_hat: Row,
    dense: tuple[Row, ...],
    dense_order: int,
    reference: str,
    w_order: int = 1,
) -> RosenbrockTableau:
    """A tableau given as alpha, Gamma, b (dense rows too) in the form without matrix-vector products: u = Gamma k."""
    full = np.array(gamma)
    # Forward substitution: a library's inverse may exchange rows, and leaves rounding where a zero makes the last stage f(x1).
    inverse = np.zeros_like(full)
    for i, row in enumerate(np.eye(len(full))):
        inverse[i] = (row - sum(full[i, j] * inverse[j] for j in range(i))) / full[i, i]
    alpha_full = np.array(alpha)
    a, big_c = alpha_full @ inverse, np.diag(1.0 / np.diag(full)) - inverse

    def lower(matrix: np.ndarray) -> tuple[Row, ...]:
        return tuple(tuple(float(v) for v in row[:i]) for i, row in enumerate(matrix))

    m = tuple(float(v) for v in np.array(b) @ inverse)
    e = tuple(float(v) for v in (np.array(b) - np.array(b_hat)) @ inverse)
    c, d = (tuple(float(v) for v in matrix.sum(1)) for matrix in (alpha_full, full))
    q = tuple(tuple(float(v) for v in row) for row in np.array(dense) @ inverse)
    return RosenbrockTableau(
        name, order, embedded_order, float(full[0, 0]), lower(a), lower(big_c), c, d, m, e, reference, q, dense_order, w_order
    )


_G = 1.0 / (2.0 + math.sqrt(2.0))
_E32 = 6.0 + math.sqrt(2.0)

# ode23s is printed with f values of earlier stages in the third one; eliminated here by (I - h g J) k_2 = f_2 - h g J k_1.
# The row of Gamma for stage 3 follows: (g (e32 - 2), -g e32, g). The error weights are (k1 - 2 k2 + k3) h / 6.
ROSENBROCK23 = transformed(
    name="rosenbrock23",
    w_order=2,
    order=2,
    embedded_order=3,
    alpha=((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 1.0, 0.0)),
    gamma=((_G, 0.0, 0.0), (-_G, _G, 0.0), (_G * (_E32 - 2.0), -_G * _E32, _G)),
    b=(0.0, 1.0, 0.0),
    b_hat=(1 / 6, 2 / 3, 1 / 6),
    dense=((1.0 / (1.0 - 2.0 * _G), -1.0 / (1.0 - 2.0 * _G), 0.0),),
    dense_order=2,
    reference="Shampine & Reichelt, SIAM J. Sci. Comput. 18, 1997 (ode23s)",
)

# The estimate is the difference of the last two stages, and the embedded solution damps too: R_hat(infinity) = 0. Both stages
# share one f, so that for h |J| -> infinity their difference is 0 whatever that f is: how far x1 is from the slow manifold of
# a non-linear field is not in it. Steinebach adds the distance of two interpolants, which needs no f and shortens the steps
# of a linear stiff component to what these differ in between; f at the end sees the same faults, and is the next step's slope.
RODAS3P = RosenbrockTableau(
    name="rodas3p",
    order=3,
    embedded_order=2,
    gamma=1 / 3,
    a=((), (4 / 3,), (0.0, 0.0), (2.90625, 3.375, 0.40625), (2.90625, 3.375, 0.40625, 0.0)),
    C=((), (-4.0,), (8.25, 6.75), (1.21875, -5.0625, -1.96875), (4.03125, -15.1875, -4.03125, 6.0)),
    c=(0.0, 4 / 9, 0.0, 1.0, 1.0),
    d=(1 / 3, -1 / 9, 1.0, 0.0, 0.0),
    m=(2.90625, 3.375, 0.40625, 0.0, 1.0),
    e=(0.0, 0.0, 0.0, -1.0, 1.0),
    dense=((1.78125, 6.75, 0.15625, -6.0, -1.0), (4.21875, -15.1875, -3.09375, 9.0, 0.0)),
    dense_order=3,
    reference="Steinebach, Proc. JuliaCon Conf. 6, 2024",
    checks_end=True,
)

RODAS4 = RosenbrockTableau(
    name="rodas4",
    order=4,
    embedded_order=3,
    gamma=0.25,
    a=(
        (),
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0),
    ),
    C=(
        (),
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616),
        (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
    ),
    c=(0.0, 0.386, 0.21, 0.63, 1.0, 1.0),
    d=(0.25, -0.1043, 0.1035, -0.0362, 0.0, 0.0),
    m=(1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0, 1.0),
    e=(0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    dense=(
        (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662, 0.0),
        (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872, 0.0),
    ),
    dense_order=3,
    reference="Hairer & Wanner, Solving Ordinary Differential Equations II, IV.7 (RODAS)",
)

RODAS5P = RosenbrockTableau(
    name="rodas5p",
    w_order=2,
    order=5,
    embedded_order=4,
    gamma=0.21193756319429014,
    a=(
        (),
        (3.0,),
        (2.849394379747939, 0.45842242204463923),
        (-6.954028509809101, 2.489845061869568, -10.358996098473584),
        (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
        (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946),
        (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946, 1.0),
        (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946, 1.0, 1.0),
    ),
    C=(
        (),
        (-14.155112264123755,),
        (-17.97296035885952, -2.859693295451294),
        (147.12150275711716, -1.41221402718213, 71.68940251302358),
        (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
        (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
        (
            30.91273214028599,
            -3.1208243349937974,
            77.79954646070892,
            34.28646028294783,
            -19.097331116725623,
            -28.087943162872662,
        ),
        (
            37.80277123390563,
            -3.2571969029072276,
            112.26918849496327,
            66.9347231244047,
            -40.06618937091002,
            -54.66780262877968,
            -9.48861652309627,
        ),
    ),
    c=(0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0),
    d=(0.21193756319429014, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0.0, 0.0, 0.0),
    m=(-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946, 1.0, 1.0, 1.0),
    e=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    dense=(
        (
            25.948786856663858,
            -2.5579724845846235,
            10.433815404888879,
            -2.3679251022685204,
            0.524948541321073,
            1.1241088310450404,
            0.4272876194431874,
            -0.17202221070155493,
        ),
        (
            -9.91568850695171,
            -0.9689944594115154,
            3.0438037242978453,
            -24.495224566215796,
            20.176138334709044,
            15.98066361424651,
            -6.789040303419874,
            -6.710236069923372,
        ),
        (
            11.419903575922262,
            2.8879645146136994,
            72.92137995996029,
            80.12511834622643,
            -52.072871366152654,
            -59.78993625266729,
            -0.15582684282751913,
            4.883087185713722,
        ),
    ),
    dense_order=4,
    reference="Steinebach, BIT Numer. Math. 63:27, 2023",
)
