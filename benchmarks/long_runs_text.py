"""The words of docs/long_runs.md that do not depend on the results."""

INTRODUCTION = """# Is the likelihood of a long run to be trusted?

The prior is trained with chains that follow its parameters: at each step the population is
reweighted and swept 40 times. If the chains fall behind, the gradient of log Z is biased; and if
AIS misses modes, so is the reported likelihood. Both are measured here on the models that long runs
keep along the way (`--keep_steps`), by `python -m benchmarks.long_runs RUN_DIR ...`, which wrote
this page, verdicts included, from `benchmarks/results/long_runs/`. All costs are in nats.

## In short

"""

METHOD = {
    "runs": """A first attempt is a run of the same command on an earlier machine, which ended with
that machine; the run without this remark was begun anew.

""",
    "chains": """Integrated autocorrelation times, in sweeps, of block-Gibbs chains at fixed
parameters from a start of tempered states; ± is one standard error. Energy: that of the left half,
the right one summed out. Slowest combination: the linear combination of left units that keeps most
of its correlation over 1, 10 or the sweeps of a step, whichever is slowest, found with half of the
chains and measured on the other; no other linear combination should be much slower, non-linear
functions may be. ESS and families: of the population in training, means over the last summary's
steps (families are counted anew every 100 steps).

""",
    "bias": """The population is the kept one moved by one step of its sampler, to the kept
parameters: the next gradient would have been made with it. It is compared with long tempered chains
in root mean square of the differences; noise is what as many independent tempered states give
(mean ± standard deviation over such sets). The cost is ½ Δ' F⁻¹ Δ with the Fisher information F, in
nested spans of the statistics whose means are the gradient of log Z: all unit means; with the 100
products along the singular vectors of the coupling, which together hold the energy; with the
cross products of the 20 strongest. The floor, what sampling noise alone comes to, has been
subtracted from it.

""",
    "log_z": """Forward AIS is low on average, reverse AIS high if its start is right. Reverse AIS
is started once from the population and once from the tempered chains, which share nothing with it.
± is one standard error.

""",
}

END = """
## What this can and cannot show

- **Second order.** ½ Δ' F⁻¹ Δ is the KL divergence up to third order in Δ. It is what maximum
  likelihood of the prior (the encoder held fixed) loses at a fixed point found with the
  population's moments in the place of the model's, per image.
- **A part of the parameters.** F of all parameters cannot be estimated from this many states. In
  a part of the statistics the cost is a lower bound of that in all: what lies outside the span,
  single weak pairs above all, is not seen.
- **One population.** A persistent bias and a chance fluctuation of one population look the same
  here. Only a persistent one costs what is stated, since fluctuations average out along training.
  Members have ancestors in common, which makes the population's own noise larger than that of
  independent states: this counts as cost, so that the verdict errs to the side of caution.
- **The reference.** Tempered chains start from the base anew many times (see arrivals), but a mode
  that is narrow at every temperature could be missed by all estimators alike. They agree or not;
  they certify nothing.
- **Errors** are one standard error from independent chains, ladders or sets. Verdicts speak of a
  deviation from three standard errors on; for log Z from what keeps the chance of a false alarm at
  1 % over all pairs.
- **The check of correlations** fails where a time exceeds ten steps or the recorded series cannot
  resolve it. That a time exceeds one step is told and does not fail it. These two bounds, and how
  the slowest combination is looked for, were settled after the first models had been measured;
  those of distance, cost and log Z before.
- **One seed** of each method: nothing is said of the spread between runs.

To measure again when a run is longer, give its directory: what was measured stays.
"""
