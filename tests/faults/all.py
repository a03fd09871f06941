"""All faults, by what they are put into."""

from tests.faults import (
    annealing,
    binary_estimators,
    chains,
    checkpoints,
    classics,
    decoder,
    encoder,
    ends,
    evaluation,
    images,
    kl,
    log_z,
    networks,
    objectives,
    posteriors,
    random_numbers,
    relaxed_priors,
    runs,
    selection,
    settings,
    smoothing,
    straight_energies,
    train_step,
    undirected,
)

_PLACES = (
    classics,
    settings,
    selection,
    checkpoints,
    runs,
    images,
    networks,
    encoder,
    decoder,
    posteriors,
    smoothing,
    kl,
    relaxed_priors,
    straight_energies,
    objectives,
    binary_estimators,
    train_step,
    evaluation,
    random_numbers,
    chains,
    annealing,
    log_z,
    undirected,
    ends,
)
FAULTS = tuple(fault for place in _PLACES for fault in place.FAULTS)
# Changes that cannot be seen because they change nothing: what they are, and why.
EQUIVALENT = (
    (
        "uniform(...) <= p for < p in the binarisation",
        "at most one in 2^24 draws falls on p itself, where either is right to rounding",
    ),
    (
        "watch_accessed_variables=True, or jit_compile=False",
        "what is watched, or compiled, costs time and changes no number beyond rounding",
    ),
)
