"""Small models of undirected posteriors, all variables random."""

import numpy as np
import tensorflow as tf

from configs.registry import Structure
from tests.helpers import tiny_models
from tests.reference.rbm import ReferenceRBM

BASELINES = {"pwl": 4.0, "concrete": 3.0}
# Halves of 2 and 3 units: no two dimensions are alike.
LINEAR = Structure(num_groups=1, units_per_group=5, num_hidden_layers=0)
DEEP = Structure(num_groups=1, units_per_group=5, num_hidden_layers=1, hidden_units=4)
NUM_LEFT, NUM_RIGHT = 2, 3


def make(kind="pwl", structure=LINEAR, k=1, scale=0.4):
    """A model whose posteriors are coupled, but not so that few temperatures are lost in them."""
    made = tiny_models.make(structure, scale, baseline=f"dvaess_{kind}", beta=BASELINES[kind], k=k)
    norm = made.model.encoder.norm
    norm.gamma.assign(0.25 * norm.gamma)
    return made


def float_images(count=tiny_models.NUM_IMAGES):
    """The images of `tiny_models` as float32."""
    return tf.constant(tiny_models.images(count=count), tf.float32)


def reference_of(rbm, row):
    """One image's posterior, in float64."""
    return ReferenceRBM(*(np.float64(p[row]) for p in rbm))
