"""What each estimator of binary models makes of given samples, in float64: no expectation.

G [K, D] is what the K samples of an image say of the gradient of their logits, from the formulas of
the papers, with f of `vae.Image`; expectations over samples are in `enumeration`.
"""

import numpy as np
from scipy.special import expit, softmax

from tests.reference.rbm import numerical_gradient


def mean_of_others(values):
    """Of each entry of the first axis, the mean of all others."""
    return np.stack([np.delete(values, k, axis=0).mean(axis=0) for k in range(len(values))])


def leave_one_out(image, z):
    """Kool et al. 2019: averaged over samples, each compared with the mean of the others."""
    f, r = image.value(z), z - expit(image.posterior.logits(z))
    return (f - mean_of_others(f))[:, None] * r / len(z)


def vimco(image, z):
    """Mnih and Rezende 2016, eq. 10 and the geometric mean of section 2; a sum over samples."""
    f, r = image.value(z), z - expit(image.posterior.logits(z))
    bound = np.log(np.mean(np.exp(f)))
    without = []
    for k in range(len(z)):
        replaced = f.copy()
        replaced[k] = np.delete(f, k).mean()
        without.append(np.log(np.mean(np.exp(replaced))))
    return (bound - np.array(without) - image.kl_weight * softmax(f))[:, None] * r


def disarm(image, noise, sizes):
    """Dong et al. 2020, eq. 8, group by group: G, and all chains [1 + groups, K, D].

    The partner of a group has the main chain's bits before it, those of the noise's opposite in
    it, and goes on with the same noise after it.
    """
    ends = np.cumsum(sizes)
    groups = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def chain(partner_of):
        z = np.zeros_like(noise)
        for number, units in enumerate(groups):
            sign = -1.0 if number == partner_of else 1.0
            z[:, units] = image.posterior.logits(z)[:, units] + sign * noise[:, units] > 0
        return z

    main, partners = chain(None), [chain(number) for number in range(len(sizes))]
    logits, found = image.posterior.logits(main), np.zeros_like(noise)
    for units, partner in zip(groups, partners, strict=True):
        half = 0.5 * (image.value(main) - image.value(partner))[:, None]
        pair = main[:, units] - partner[:, units]
        found[:, units] = half * pair * expit(np.abs(logits[:, units]))
    return found / len(noise), np.stack([main, *partners])


def rodeo(image, z, coefficients):
    """Shi et al. 2022, section 4: coefficients [2, groups] are alpha and beta of each group."""
    alpha, beta = np.repeat(coefficients, z.shape[1] // coefficients.shape[1], axis=1)
    f, q = image.value(z), expit(image.posterior.logits(z))
    r, s = z - q, mean_of_others(image.slopes(z))
    others = mean_of_others(f - (alpha * s * r).sum(axis=1))
    signal = f - others - (beta * s * r).sum(axis=1)
    return (signal[:, None] * r + beta * s * q * (1 - q)) / len(z)


def slopes_of_coefficients(gradient, coefficients):
    """How the squared norm of a gradient [D] falls with each coefficient: of a quadratic, exact."""
    return -numerical_gradient(lambda c: np.sum(gradient(c[0]) ** 2), [coefficients])[0]
