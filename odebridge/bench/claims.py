"""The claims of the paper and of a first trial of it, each with the rule that judges it from the rows of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from odebridge.bench import judges, judges_depth, judges_equations
from odebridge.bench.attention_page import LEVEL, MARGIN
from odebridge.bench.grouped import Row
from odebridge.bench.judges import GPU, OPEN, UNRECORDED, Found, Judge
from odebridge.bench.words import DASH


@dataclass(frozen=True)
class Claim:
    """text: the claim. how: what is measured, and the rule of the verdict. judge: None where the rows do not have it."""

    text: str
    how: str
    suite: str
    judge: Judge


GAIN = f"holds where p < {LEVEL}, does not where the interval leaves out a gain of {MARGIN:g}"
HOLM = f"paired t-test over seeds, Holm over all gates; {GAIN}"
PAPER: tuple[Claim, ...] = (
    Claim(
        "Attention as an adaptive step makes a better network than steps of 1.",
        f"accuracy minus that of step 1; {HOLM}; for every gate",
        "attention",
        judges.attention(judges.gate_gains),
    ),
    Claim(
        "The gain comes from adapting to the state.",
        f"accuracy minus that of a learned constant that sees no input; {HOLM}; equality by two one-sided tests",
        "attention",
        judges.attention(judges.adapts),
    ),
    Claim(
        "StepNet is ahead of SE (here a reconstruction of StepNet).",
        "accuracy of StepNet (reconstruction) minus SE; holds, or not, where the interval lies on one side of 0",
        "attention",
        judges.stepnet,
    ),
    Claim(
        "Attention values follow the stiffness that a block shows.",
        "rank correlation of the gate with NSI over gate; holds where an interval lies beyond ±0.3, over blocks only where it "
        "differs from the learned constant's, which sees nothing",
        "attention",
        judges.follows,
    ),
    Claim(
        "Networks with attention have a larger NSI than plain ones.",
        "TNS of SE minus step 1, paired; by the side of 0 on which the interval lies",
        "attention",
        judges.tns_of_se,
    ),
    Claim(
        "NSI goes with performance.",
        "rank correlation of TNS with accuracy over all networks (not independent: several share a gate); by the side of 0",
        "attention",
        judges.tns_predicts,
    ),
    Claim(
        "Trained networks have a stiffness phenomenon: NSI peaks at some blocks.",
        "peak over median block, trained minus untrained, paired; holds where training makes it",
        "refine",
        judges.peaks_are_learned,
    ),
    Claim(
        "Few blocks with attention keep the accuracy of attention everywhere (lottery ticket).",
        f"SE in a random 40 % of the blocks minus everywhere; holds where equal within {MARGIN:g} points",
        "tickets",
        judges.part_is_enough,
    ),
    Claim(
        "The blocks of high NSI are those that need attention: better than those of low NSI.",
        f"paired over seeds, mean over the shares; {GAIN}",
        "tickets",
        judges.top("bottom"),
    ),
    Claim(
        "The blocks of high NSI are better than random ones.",
        f"paired over seeds, mean over the shares; {GAIN}",
        "tickets",
        judges.top("random"),
    ),
)
TRIAL: tuple[Claim, ...] = (
    Claim(
        "NSI follows the local error of an Euler step, across the blocks.",
        "rank correlation; holds where the interval lies above 0.75",
        "refine",
        judges.refine(judges.error_across),
    ),
    Claim(
        "It does so across the samples in a block.",
        "rank correlation; holds where the interval lies above 0.5",
        "refine",
        judges.refine(judges.error_inside),
    ),
    Claim(
        "A plain network is a discrete map: it loses more than 10 points when each block takes 8 substeps.",
        "points lost; holds where every seed loses as much",
        "refine",
        judges.refine(judges.plain_loses),
    ),
    Claim(
        "Networks with a gate lose less than 7 points, with an input-free one too.",
        "points lost; holds where the mean of every kind does",
        "refine",
        judges.refine(judges.gated_keep),
    ),
    Claim(
        "On images of twice as many pixels across (first stage 14x14) a plain network loses more than 10 points.",
        "points lost; holds where every seed loses as much",
        "refine",
        judges.refine(judges.plain_loses, 1),
    ),
    Claim(
        "There networks with a gate, or with a learned constant, lose less than 7.",
        "points lost; holds where the mean of every kind does",
        "refine",
        judges.refine(judges.gated_keep, 1),
    ),
    Claim(
        "The summed local error says better than TNS which network loses.",
        "rank correlations over networks (not independent); holds where the first is above 0.5 and the second",
        "refine",
        judges.refine(judges.error_ranks),
    ),
    Claim(
        "In an untrained network NSI falls as 1 / sqrt(block): accumulation, not stiffness.",
        "exponent within a stage; holds where the interval has -0.5 and is no wider than 0.6",
        "refine",
        judges.refine(judges.null),
    ),
    Claim(
        "Training lowers NSI.",
        "TNS, untrained minus trained, paired; by the side of 0",
        "refine",
        judges.training_lowers,
    ),
    Claim(
        "A learned constant without input gains as much as a gate.",
        f"its accuracy minus that of step 1; {HOLM}",
        "attention",
        judges.attention(judges.constant),
    ),
    Claim(
        "So does a step of 1/2 that nobody learns.",
        f"accuracy; holds where better than step 1 (Holm) and equal to the learned constant within {MARGIN:g} points",
        "attention",
        judges.attention(judges.half),
    ),
    Claim(
        "SE's steps vary with the image more than with channel and block.",
        "shares of their variance; holds above one half",
        "attention",
        judges.attention(judges.looks_at_samples),
    ),
    Claim(
        "Samples that are classified surely move farther.",
        "rank correlation of TNS with the probability of the right class, over samples; by the side of 0",
        "attention",
        judges.easy_samples_move,
    ),
    Claim(
        "On equations the index marks where an implicit solver takes short steps.",
        "rank correlation of |x'|/|x| with 1/h; holds where above 0.3 for every equation",
        "stiffness",
        judges_equations.follows_implicit,
    ),
    Claim(
        "It does not mark where stability makes an explicit solver take short steps.",
        "the same for an explicit solver, on stiff equations; holds where below 0.3 for every equation",
        "stiffness",
        judges_equations.not_explicit,
    ),
    Claim(
        "The spectral radius does.",
        "rank correlation of the spectral radius with 1/h; holds where above 0.75 for every stiff equation",
        "stiffness",
        judges_equations.radius_explicit,
    ),
    Claim(
        "The index does not follow the spectral radius.",
        "rank correlation along the solution; holds where below 0.3 for every equation",
        "stiffness",
        judges_equations.not_radius,
    ),
    Claim(
        "Small trained residual networks are not stiff.",
        "spectral radius of blocks by Jacobian; holds where under 10 % exceed 2",
        "stiffness",
        judges_equations.not_stiff,
    ),
    Claim(
        "A network of continuous depth that was trained with small Euler steps (8 a stage) is independent of its solver.",
        "accuracy by its own steps minus by dopri5 at rtol 1e-2, same weights; holds where the intervals lie within 1 point",
        "depth",
        judges_depth.solver_free,
    ),
    Claim(
        "One that was trained with one step a stage is not: it loses more than 1 point.",
        "the same; holds where the interval lies above 1",
        "depth",
        judges_depth.solver_bound,
    ),
)
UNMEASURED: tuple[tuple[str, str, str], ...] = (  # claim, why it is open, verdict
    (
        "The paper's accuracy tables for StepNet, SE and others (CIFAR, STL-10, ImageNet).",
        "Not claimed: the equations of StepNet are not public, what is here is a reconstruction, and its tables "
        "were not to be had.",
        GPU,
    ),
    (
        "In ResNet-164, SE has a larger NSI than the plain network in most blocks.",
        "164 layers and 164 epochs on CIFAR-100 are 25 to 53 core-hours a run on a CPU.",
        GPU,
    ),
    (
        "TSC, the time stepping controller of Yang et al. (AAAI 2020, arXiv 1911.10305), as one more gate.",
        "Not built: its abstract says that an LSTM sees the weights of the block and remembers earlier steps. How it reads "
        "them and how large it is could not be found, in a text or in code; a guess under that name would be no baseline.",
        OPEN,
    ),
    (
        "Networks with attention learn stiffer trajectories on photographs (CIFAR-10, CIFAR-100, STL-10).",
        "The data are not at hand here; `odebridge train resnet --preset paper --data cifar-100 --controller se` trains the "
        "networks, `ob.metrics.compare` draws the figure.",
        GPU,
    ),
    (
        "A true trajectory exists that attention matches better.",
        "The text of the paper could not be had, and without it there is no definition of that trajectory to measure.",
        OPEN,
    ),
)


def judged(claims: Sequence[Claim], records: Mapping[str, Sequence[Row]]) -> list[tuple[Claim, Found]]:
    """Every claim with what the records of its suite say; without a record, that there is none."""
    none = Found(DASH, DASH, DASH, UNRECORDED)
    return [(c, (c.judge(records[c.suite]) if records.get(c.suite) else None) or none) for c in claims]
