"""Publications as data: key -> (type, author, title, where, year). One line of BibTeX fields each; where is journal or book."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One publication. kind: article, book, inproceedings or misc; where: journal, publisher or proceedings; place: pages."""

    kind: str
    author: str
    title: str
    where: str
    year: int
    place: str = ""


_HW2 = ("Hairer, Ernst and Wanner, Gerhard", "Solving Ordinary Differential Equations II", "Springer")
ENTRIES: dict[str, Entry] = {
    "odebridge": Entry(
        "misc", "{The odebridge developers}", "odebridge: stiff ODE solvers and residual networks in one loop", "", 2026
    ),
    "huang2023": Entry(
        "inproceedings",
        "Huang, Zhongzhan and Liang, Mingfu and Qin, Jinghui and Zhong, Shanshan and Lin, Liang",
        "Understanding Self-attention Mechanism via Dynamical System Perspective",
        "IEEE/CVF International Conference on Computer Vision (ICCV)",
        2023,
        "1412--1422",
    ),
    "euler1768": Entry(
        "book", "Euler, Leonhard", "Institutionum calculi integralis", "Academia Scientiarum, St. Petersburg", 1768
    ),
    "heun1900": Entry(
        "article",
        "Heun, Karl",
        "Neue Methoden zur approximativen Integration der Differentialgleichungen einer unabhangigen Veranderlichen",
        "Zeitschrift fur Mathematik und Physik",
        1900,
        "45:23--38",
    ),
    "kutta1901": Entry(
        "article",
        "Kutta, Wilhelm",
        "Beitrag zur naherungsweisen Integration totaler Differentialgleichungen",
        "Zeitschrift fur Mathematik und Physik",
        1901,
        "46:435--453",
    ),
    "bogacki1989": Entry(
        "article",
        "Bogacki, Przemyslaw and Shampine, Lawrence F.",
        "A 3(2) pair of Runge-Kutta formulas",
        "Applied Mathematics Letters",
        1989,
        "2(4):321--325",
    ),
    "dormand1980": Entry(
        "article",
        "Dormand, John R. and Prince, Peter J.",
        "A family of embedded Runge-Kutta formulae",
        "Journal of Computational and Applied Mathematics",
        1980,
        "6(1):19--26",
    ),
    "prince1981": Entry(
        "article",
        "Prince, Peter J. and Dormand, John R.",
        "High order embedded Runge-Kutta formulae",
        "Journal of Computational and Applied Mathematics",
        1981,
        "7(1):67--75",
    ),
    "tsitouras2011": Entry(
        "article",
        "Tsitouras, Charalampos",
        "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption",
        "Computers and Mathematics with Applications",
        2011,
        "62(2):770--775",
    ),
    "shampine1997": Entry(
        "article",
        "Shampine, Lawrence F. and Reichelt, Mark W.",
        "The MATLAB ODE Suite",
        "SIAM Journal on Scientific Computing",
        1997,
        "18(1):1--22",
    ),
    "hairer1996": Entry("book", *_HW2, 1996),
    "hairer1999": Entry(
        "article",
        "Hairer, Ernst and Wanner, Gerhard",
        "Stiff differential equations solved by Radau methods",
        "Journal of Computational and Applied Mathematics",
        1999,
        "111:93--111",
    ),
    "hairer1993": Entry(
        "book",
        "Hairer, Ernst and Norsett, Syvert P. and Wanner, Gerhard",
        "Solving Ordinary Differential Equations I",
        "Springer",
        1993,
    ),
    "hairer2006": Entry(
        "book", "Hairer, Ernst and Lubich, Christian and Wanner, Gerhard", "Geometric Numerical Integration", "Springer", 2006
    ),
    "steinebach2023": Entry(
        "article",
        "Steinebach, Gerd",
        "Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia "
        "Differential Equations package",
        "BIT Numerical Mathematics",
        2023,
        "63:27",
    ),
    "steinebach2024": Entry(
        "article",
        "Steinebach, Gerd",
        "Rosenbrock methods within OrdinaryDiffEq.jl - Overview, recent developments and applications",
        "Proceedings of the JuliaCon Conferences",
        2024,
        "6",
    ),
    "steinebach2026": Entry(
        "misc", "Steinebach, Gerd", "Fourth order Rosenbrock W method for stiff ODEs and DAEs", "in preparation", 2026
    ),
    "rang2005": Entry(
        "article",
        "Rang, Joachim and Angermann, Lutz",
        "New Rosenbrock W-methods of order 3 for partial differential algebraic equations of index 1",
        "BIT Numerical Mathematics",
        2005,
        "45:761--787",
    ),
    "hosea1996": Entry(
        "article",
        "Hosea, Michael E. and Shampine, Lawrence F.",
        "Analysis and implementation of TR-BDF2",
        "Applied Numerical Mathematics",
        1996,
        "20:21--37",
    ),
    "kvaerno2004": Entry(
        "article",
        "Kvaerno, Anne",
        "Singly diagonally implicit Runge-Kutta methods with an explicit first stage",
        "BIT Numerical Mathematics",
        2004,
        "44:489--502",
    ),
    "kennedy2003": Entry(
        "article",
        "Kennedy, Christopher A. and Carpenter, Mark H.",
        "Additive Runge-Kutta schemes for convection-diffusion-reaction equations",
        "Applied Numerical Mathematics",
        2003,
        "44:139--181",
    ),
    "butcher1964": Entry(
        "article", "Butcher, John C.", "Implicit Runge-Kutta processes", "Mathematics of Computation", 1964, "18:50--64"
    ),
    "sommeijer1998": Entry(
        "article",
        "Sommeijer, Ben P. and Shampine, Lawrence F. and Verwer, Jan G.",
        "RKC: An explicit solver for parabolic PDEs",
        "Journal of Computational and Applied Mathematics",
        1998,
        "88:315--326",
    ),
    "meyer2014": Entry(
        "article",
        "Meyer, Chad D. and Balsara, Dinshaw S. and Aslam, Tariq D.",
        "A stabilized Runge-Kutta-Legendre method for explicit super-time-stepping of parabolic and mixed equations",
        "Journal of Computational Physics",
        2014,
        "257:594--626",
    ),
    "shampine1977": Entry(
        "article",
        "Shampine, Lawrence F.",
        "Stiffness and nonstiff differential equation solvers, II: Detecting stiffness with Runge-Kutta methods",
        "ACM Transactions on Mathematical Software",
        1977,
        "3(1):44--53",
    ),
    "soderlind2003": Entry(
        "article",
        "Soderlind, Gustaf",
        "Digital filters in adaptive time-stepping",
        "ACM Transactions on Mathematical Software",
        2003,
        "29(1):1--26",
    ),
    "gustafsson1991": Entry(
        "article",
        "Gustafsson, Kjell",
        "Control theoretic techniques for stepsize selection in explicit Runge-Kutta methods",
        "ACM Transactions on Mathematical Software",
        1991,
        "17(4):533--554",
    ),
    "gustafsson1994": Entry(
        "article",
        "Gustafsson, Kjell",
        "Control-theoretic techniques for stepsize selection in implicit Runge-Kutta methods",
        "ACM Transactions on Mathematical Software",
        1994,
        "20(4):496--517",
    ),
    "virtanen2020": Entry(
        "article",
        "Virtanen, Pauli and others",
        "SciPy 1.0: Fundamental algorithms for scientific computing in Python",
        "Nature Methods",
        2020,
        "17:261--272",
    ),
    "hindmarsh2005": Entry(
        "article",
        "Hindmarsh, Alan C. and others",
        "SUNDIALS: Suite of nonlinear and differential/algebraic equation solvers",
        "ACM Transactions on Mathematical Software",
        2005,
        "31(3):363--396",
    ),
    "hu2018": Entry(
        "inproceedings",
        "Hu, Jie and Shen, Li and Sun, Gang",
        "Squeeze-and-Excitation Networks",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2018,
    ),
    "wang2020": Entry(
        "inproceedings",
        "Wang, Qilong and Wu, Banggu and Zhu, Pengfei and Li, Peihua and Zuo, Wangmeng and Hu, Qinghua",
        "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        2020,
    ),
    "lee2019": Entry(
        "inproceedings",
        "Lee, HyunJae and Kim, Hyo-Eun and Nam, Hyeonseob",
        "SRM: A Style-Based Recalibration Module for Convolutional Neural Networks",
        "IEEE/CVF International Conference on Computer Vision (ICCV)",
        2019,
    ),
    "woo2018": Entry(
        "inproceedings",
        "Woo, Sanghyun and Park, Jongchan and Lee, Joon-Young and Kweon, In So",
        "CBAM: Convolutional Block Attention Module",
        "European Conference on Computer Vision (ECCV)",
        2018,
    ),
    "guo2020": Entry(
        "inproceedings",
        "Guo, Jingda and others",
        "SPANet: Spatial Pyramid Attention Network for Enhanced Image Recognition",
        "IEEE International Conference on Multimedia and Expo (ICME)",
        2020,
    ),
    "liang2020": Entry(
        "inproceedings",
        "Liang, Senwei and Huang, Zhongzhan and Liang, Mingfu and Yang, Haizhao",
        "Instance Enhancement Batch Normalization: An Adaptive Regulator of Batch Noise",
        "AAAI Conference on Artificial Intelligence",
        2020,
    ),
    "huang2020": Entry(
        "inproceedings",
        "Huang, Zhongzhan and Liang, Senwei and Liang, Mingfu and Yang, Haizhao",
        "DIANet: Dense-and-Implicit Attention Network",
        "AAAI Conference on Artificial Intelligence",
        2020,
    ),
    "li2019": Entry(
        "misc",
        "Li, Xiang and Hu, Xiaolin and Yang, Jian",
        "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
        "arXiv:1905.09646",
        2019,
    ),
    "yang2020": Entry(
        "inproceedings",
        "Yang, Yibo and Wu, Jianlong and Li, Hongyang and Li, Xia and Shen, Tiancheng and Lin, Zhouchen",
        "Dynamical System Inspired Adaptive Time Stepping Controller for Residual Network Families",
        "AAAI Conference on Artificial Intelligence",
        2020,
    ),
    "e2017": Entry(
        "article",
        "E, Weinan",
        "A Proposal on Machine Learning via Dynamical Systems",
        "Communications in Mathematics and Statistics",
        2017,
        "5:1--11",
    ),
}
