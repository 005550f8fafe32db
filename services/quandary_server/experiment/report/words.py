"""What the page says in whole sentences."""

PAPER = (
    "From Feng et al. 2019 (arXiv 1901.10609): a detector that looks into the frustum behind a camera's proposal; softmax, "
    "MC-dropout and deep ensembles; Shannon entropy and mutual information of the class; the loop of training, asking and "
    "labelling against random sampling; sparsification. The paper's mark is up to 60 % of labels saved in classification, "
    "little in localisation."
)
OURS = (
    "Ours, because the paper's could not be confirmed or has none: the net, its recipe and the number of its steps; the "
    "classes; the sizes of the first set and of each query, the number of rounds, members and masks; the simulator; the box's "
    "share in the score, k-centre, balance and folding in the query; the calibration of boxes; the targets with their "
    "intervals; held-out classes and noisy proposals. No number here is the paper's own set-up made again."
)
ASKED = (
    "How many labels does it save to ask for what the detector is unsure about, against asking at random? A label is one crop "
    "that was looked at, Background included. Pool, control and evaluation are split by drive."
)
UNDETERMINED_MEANS = (
    "Undetermined: a seed that was not run to the end, a single seed (no interval), or too few errors (under 20, or under 100 "
    "crops) on any seed."
)
SAVED_MEANS = (
    "Savings are 1 - labels of the method / labels of random sampling, where the running best of the mean curves crosses the "
    "target. Intervals are paired bootstraps over seeds, somewhat narrow for few. What a method saves that never reaches it is "
    "not known: not reached. A draw of the bootstrap that does not reach it counts as 0, so that an interval may end there."
)
NO_UPPER_END = (
    "Left out of it is what has no upper end: a method on one seed, and one that did not reach the target and was stopped "
    "before it had as many labels as random sampling needed."
)
COSTS = (
    "Hours and euros are those at the labels of the mean curves and have no interval of their own: that of the labels stands "
    "beside them."
)
CROSSINGS = (
    "Crossings are linear between budgets. Where these are far apart, as on random sampling's last stretch to the whole pool, "
    "a curve that bends reaches the target before its chord does: labels are then overstated, random sampling's most of all."
)
FEW_OBJECTS = (
    "Few distinct objects may stand behind many crops: frames of a drive are near copies of each other, and all seeds share "
    "the same streets. Intervals over seeds tell how trainings and queries scatter, not what another town would give; where "
    "drives are few, a few objects decide the evaluation. Read the sign and the rough size of an effect from these, no more."
)
CURVES = "Learning curves. Bands are 95 % intervals over seeds; the last grey point is the whole pool."
BY_ESTIMATOR = "By estimator, each beside random sampling judged with the same estimator."
SAVINGS = "Labels saved, with 95 % intervals."
CLASSES = "Shares of the classes among queried labels."
SUMMARY = "Macro recall over labels; labels saved; the error left when the most uncertain predictions are dropped first."
TIMES = (
    "Training, judging, and scoring the pool, on one core. Random sampling goes on to the whole pool, and scores none of it."
)
JUDGED = (
    "Judged on the nets that random sampling trained on the whole pool, mean over seeds. AUSE is the area between curve and "
    "oracle, each curve divided by its first value, over 100 steps; AURG that between chance and curve; gain is 1 - AUSE / "
    "AUSE of random: 1 is the oracle, 0 is chance."
)
BY_METHOD = (
    "By method, where asking stops: each net answers with the method's own estimator, ranked by the uncertainty that matches "
    "the error; behind the stroke the same of random sampling's nets with as many labels. Each curve is divided by the net's "
    "own error."
)
SPARSIFICATION = "The most uncertain predictions are dropped first: the error left should fall."
RELIABILITY = "Confidence against accuracy."
COVERAGE = "Do intervals of the box hold what they say? Ensemble x MC."
HELD_OUT = "AUROC by score and estimator: further right is better."
"""Captions, and what a reader must know to read the numbers."""
