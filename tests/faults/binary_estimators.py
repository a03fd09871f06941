"""Faults of the unbiased estimators of binary models, and of their enumeration."""

import dataclasses

from configs.registry import BASELINES
from tests.faults import change, constant, entry, fault

_FILE = "dvae/test_binary_estimators.py"


def _over_all(*cases: str) -> tuple[str, ...]:
    """Means over all samples, such as "2-loo"."""
    return tuple(f"{_FILE}::test_mean_over_all_samples[{case}]" for case in cases)


def _disarm(*groups: str) -> tuple[str, ...]:
    """DisARM's mean over all noise."""
    return tuple(f"{_FILE}::test_mean_over_all_noise[{number}]" for number in groups)


def _exact(*cases: str) -> tuple[str, ...]:
    """The enumeration of a number of groups and K, such as "2-5"."""
    return tuple(f"{_FILE}::test_exact[{case}]" for case in cases)


_LEARNING = f"{_FILE}::test_coefficients_lower_the_variance"

FAULTS = (
    fault(
        "log q of bits has the wrong normaliser",
        change("dvae.posteriors:BernoulliPosterior.log_density", "softplus(", "softplus(-"),
        *_over_all("2-loo", "2-vimco", "2-rodeo"),
        *_exact("2-1"),
    ),
    fault(
        "the energy of bits has the wrong sign",
        change("dvae.kl:straight_log_ratio", "log_q + prior", "log_q - prior"),
        *_over_all("2-loo", "2-vimco"),
    ),
    fault(
        "the mean of the other samples has the sample's own value in it",
        change(
            "dvae.score_function:mean_of_others",
            "(total - values) / (values.shape[1] - 1.0)",
            "tf.zeros_like(values) + total / values.shape[1]",
        ),
        *_over_all("2-loo", "2-rodeo"),
    ),
    fault(
        "the signal of leave-one-out lets gradients through",
        change(
            "dvae.score_function:LeaveOneOut.__call__",
            "tf.stop_gradient(value - mean_of_others(value))",
            "value - mean_of_others(value)",
        ),
        *_over_all("2-loo"),
    ),
    fault(
        "the KL's warm-up is left out of leave-one-out",
        change(
            "dvae.score_function:LeaveOneOut.__call__", "log_weights(kl_weight)", "log_weights(1.0)"
        ),
        *_over_all("2-loo"),
    ),
    fault(
        "leave-one-out keeps the score of log q inside f",
        change("dvae.score_function:LeaveOneOut.__call__", "(signal + kl_weight)", "signal"),
        _LEARNING,
    ),
    fault(
        "VIMCO compares the bound with itself",
        change(
            "dvae.score_function:bounds_without_each",
            "mean_of_others(log_weights)[:, :, None]",
            "log_weights[:, :, None]",
        ),
        *_over_all("2-vimco"),
    ),
    fault(
        "VIMCO averages the scores of its samples",
        change(
            "dvae.score_function:Vimco.__call__",
            "tf.reduce_sum(signal",
            "tf.reduce_mean(signal",
        ),
        *_over_all("2-vimco"),
    ),
    fault(
        "VIMCO stops log q in the weights",
        change(
            "dvae.score_function:Vimco.__call__",
            "bounds = tfp.math.reduce_logmeanexp(log_weights, axis=-1)",
            "log_weights += kl_weight * (log_q - tf.stop_gradient(log_q))\n"
            "    bounds = tfp.math.reduce_logmeanexp(log_weights, axis=-1)",
        ),
        *_over_all("2-vimco"),
    ),
    fault(
        "VIMCO trains the ELBO",
        change(
            "dvae.score_function:Vimco.__call__",
            "bound = tf.reduce_mean(bounds)",
            "bound = tf.reduce_mean(log_weights)",
        ),
        *_over_all("2-vimco"),
    ),
    fault(
        "VIMCO takes a single sample",
        entry(
            "configs.registry:BASELINES",
            "vimco",
            dataclasses.replace(BASELINES["vimco"], least_k=1),
        ),
        f"{_FILE}::test_vimco_asks_for_two_samples",
    ),
    fault(
        "DisARM takes the whole difference",
        change("dvae.disarm:Disarm.__call__", "0.5 * (values", "(values"),
        *_disarm("2", "4"),
    ),
    fault(
        "DisARM weighs bits by σ(-|ℓ|)",
        change("dvae.disarm:Disarm.__call__", "tf.sigmoid(tf.abs", "tf.sigmoid(-tf.abs"),
        *_disarm("2", "4"),
    ),
    fault(
        "DisARM averages over units",
        change("dvae.disarm:Disarm.__call__", "units * tf.reduce_mean", "tf.reduce_mean"),
        *_disarm("2"),
    ),
    fault(
        "DisARM's slope lets gradients through",
        change(
            "dvae.disarm:Disarm.__call__",
            "tf.stop_gradient(half_difference[..., None] * slope)",
            "half_difference[..., None] * slope",
        ),
        *_disarm("2"),
    ),
    fault(
        "both members of DisARM's pairs are equal",
        change("dvae.disarm:Disarm._chains", "[-noise]", "[noise]"),
        *_disarm("2", "4"),
    ),
    fault(
        "all groups of DisARM are compared with one partner",
        change("dvae.disarm:Disarm.__call__", "partner = group + 1", "partner = 1"),
        *_disarm("2", "4"),
    ),
    fault(
        "all groups of DisARM draw from one key",
        change("dvae.disarm:Disarm._chains", "fold_in(key, group)", "fold_in(key, 0)"),
        f"{_FILE}::test_groups_of_disarm_draw_apart",
    ),
    fault(
        "all pairs of an image have the same noise",
        change(
            "dvae.disarm:Disarm._chains",
            "found[:, :1].shape)",
            "found[:, :1, :1].shape)",
            "tf.concat([noise] * num_chains",
            "tf.repeat(noise, num_pairs, axis=2)\n        noise = tf.concat([noise] * num_chains",
        ),
        f"{_FILE}::test_groups_of_disarm_draw_apart",
    ),
    fault(
        "RODEO's surrogate knows its own sample",
        change("dvae.rodeo:Rodeo.__call__", "mean_of_others(slopes)", "slopes"),
        *_over_all("2-rodeo"),
    ),
    fault(
        "RODEO forgets the mean of its control variates",
        change(
            "dvae.rodeo:Rodeo.gradient", "+ beta_of_units * samples.slopes * samples.variances", ""
        ),
        *_over_all("2-rodeo"),
    ),
    fault(
        "RODEO takes q for the variance of a bit",
        change("dvae.rodeo:Rodeo.__call__", "q * (1.0 - q)", "q"),
        *_over_all("2-rodeo"),
    ),
    fault(
        "RODEO deals its coefficients to the units in turn",
        change(
            "dvae.rodeo:Rodeo.gradient",
            "tf.repeat(beta, self._units)",
            "tf.tile(beta, [self._units])",
        ),
        *_over_all("2-rodeo"),
    ),
    fault(
        "RODEO's coefficients raise the variance",
        change(
            "dvae.rodeo:Rodeo.__call__",
            "surrogate -= squared_norm",
            "surrogate += squared_norm",
        ),
        _LEARNING,
    ),
    fault(
        "RODEO's coefficients are not trained",
        change(
            "dvae.rodeo:Rodeo.__call__",
            "surrogate -= squared_norm",
            "surrogate -= tf.stop_gradient(squared_norm) + 0.0 * squared_norm",
        ),
        _LEARNING,
    ),
    fault(
        "every multiset counts once",
        change(
            "dvae.enumeration:_multisets",
            "math.lgamma(num_samples + 1) - np.log1p(position).sum(axis=1)",
            "np.zeros(len(members))",
        ),
        *_exact("1-2", "4-5"),
    ),
    fault(
        "enumerated states of earlier groups go to other images",
        change(
            "dvae.enumeration:log_probabilities",
            "tf.tile(known, [images.shape[0], 1])",
            "tf.repeat(known, images.shape[0], axis=0)",
        ),
        *_exact("2-1", "4-5"),
    ),
    fault(
        "the enumeration is of the ELBO for every K",
        change("dvae.enumeration:Exact.__call__", "model.config.k", "1"),
        *_exact("1-5", "2-2"),
    ),
    fault(
        "the enumeration takes what has no room",
        constant("dvae.enumeration:MOST_MULTISETS", 2**24),
        f"{_FILE}::TestTooManyStates::test_limits[2-8]",
    ),
)
