"""Faults of settings, constants and data: names, tables, flags, images and batches."""

from dataclasses import replace

import numpy as np

from configs.datasets import DATASETS
from configs.registry import BASELINES, Structure
from tests.faults import argument, by, cases, entry, fault, result, text, within, wrapped
from tests.faults.common import BATCHES, SAMPLES

EVALUATION, FLAGS = "test_published.test_evaluation", "test_every_flag_reaches_its_field"
OTHER_DATA = "test_sharpness_of_other_data_is_that_of_mnist_and_beta_overrides_it"
STRUCTURES = cases("test_structures")
SHARPNESS = "test_sharpness[omniglot        4-layer-nonlin 4 10 30 25 25  8 16 20]"

EPOCHS = "test_each_epoch_is_a_permutation_of_its_own"
OMNIGLOT = "test_omniglot_is_transposed_split_and_binarised"
MNIST = "test_binarized_mnist_in_every_form_and_place[.-.npz]"
DIGITS = "test_digits"
BYTES = "test_lines_that_convert_arrays_are_those_of_errors[bytes, 0 to 255]"
REFUSED = "test_a_refused_call_is_one_line_and_leaves_nothing[batch]"


def dynamic(binarization: bool):
    """A data set that is binarised anew or not, whatever is asked for."""
    return lambda f, *images, **given: f(*images, **given | {"dynamic_binarization": binarization})


def exchanged_splits(build, train, validation, test, **given):
    """A data set whose validation and test images are each other's."""
    return build(train, test, validation, **given)


# Tables and flags.
with fault("the sharpness of one cell of the table is another", SHARPNESS):
    by(lambda p: p.setitem(DATASETS["omniglot"].sharpness["dvaes_exp"], "4-layer-nonlin", 10.0))
with fault("data sets without a sharpness of their own take that of omniglot", OTHER_DATA):
    argument("published_sharpness", dataset=lambda _: "omniglot")
with fault(
    "a sharpness that the method has not is accepted",
    "test_a_method_without_sharpness_takes_none[reinmax]",
):
    text("build_config", "config.has_sharpness «or → or True or» config")
with fault("--beta is not heeded", OTHER_DATA, FLAGS):
    text("build_config", "**(«published | fields → fields | published»)")
with fault("a flag does not reach the configuration", FLAGS):
    text("run.config_from_flags", 'if setting.decides« →  and name != "num_chains"»}')
with fault("--qupa is the wrong way round", FLAGS, "test_defaults"):
    text("run._sampler", '"«pa" if FLAGS.qupa else "pcd → pcd" if FLAGS.qupa else "pa»"')
with fault("the evaluation batch of omniglot is that of MNIST", EVALUATION):
    entry("DATASETS", "omniglot", lambda entry: replace(entry, eval_batch_size=1000))
with fault("evaluations come half as often in short runs", EVALUATION):
    text("_published_intervals", "«10_000 → 20_000» if steps")
with fault("100,000 steps count as a long run", EVALUATION):
    text("_published_intervals", "<«= → » 100_000")
with fault("the structure of a name is another", STRUCTURES("4-layer-nonlin")):
    entry("STRUCTURES", "4-layer-nonlin", lambda _: Structure(4, 50, 2))
with fault("--struct is not heeded", STRUCTURES("4-layer-nonlin", "1-layer-lin")):
    text("experiment._structure", 'usual = STRUCTURES[«struct → "2-layer-nonlin"»]')
with fault("a baseline has the smoothing of another", "test_what_each_baseline_is_made_of"):
    entry("BASELINES", "dvaes_unexp", lambda _: BASELINES["dvaes_exp"])

# What evaluations are made with.
with fault("AIS starts from fair bits whatever --ais_base says", SAMPLES):
    result("ais_settings", lambda settings: settings._replace(base="uniform"))
with fault("AIS of evaluations has the quick number of temperatures", SAMPLES):
    within("result.measure", "ais_settings", lambda f, c: f(c)._replace(num_temperatures=100))
with fault("AIS takes as many chains as the sampler", SAMPLES):
    wrapped("ais_settings", lambda f, config: f(config)._replace(num_chains=config.num_chains))

# Batches.
with fault("all epochs have the same order", EPOCHS):
    argument("epoch_permutation", epoch=lambda _: 0)
with fault("images are drawn with replacement", EPOCHS):
    wrapped(
        "epoch_permutation",
        lambda f, *a: f(*a)[np.random.default_rng(a[1]).integers(0, a[0], a[0])],
    )
with fault("images are not shuffled", EPOCHS):
    result("epoch_permutation", np.sort)
with fault("the seed decides no batch", "test_the_seed_matters_and_any_integer_will_do"):
    argument("epoch_permutation", seed=lambda _: 0)
with fault("calls begin an epoch anew", "test_division_into_calls_does_not_matter[cuts0]", BATCHES):
    text("batch_indices", "order[«first * batch_size : (first + count) → : count» * batch_size]")

# Images.
with fault("the training mean is that of the levels, not of grey values", OMNIGLOT, DIGITS):
    wrapped("Dataset.train_mean", lambda f, self: f(self) / self.grey_unit)
with fault("the training mean is of the test images", OMNIGLOT):
    wrapped("Dataset.train_mean", lambda _, self: self.test.mean(axis=0, dtype=np.float32))
with fault("omniglot's images are not transposed", OMNIGLOT):
    wrapped("omniglot._to_rows", lambda _, columns, *shape: columns.T)
with fault("omniglot's validation set is the first images", OMNIGLOT):
    within("omniglot.load", "np.split", lambda _, data, at: [data[-at[0] :], data[: -at[0]]])
with fault("validation images are trained on as well", OMNIGLOT):
    within("omniglot.load", "np.split", lambda _, data, at: [data, data[at[0] :]])
with fault("omniglot's training images are binarised once", OMNIGLOT):
    within("omniglot.load", "build_dataset", dynamic(False))
with fault("grey values are rounded instead of drawn", OMNIGLOT):
    wrapped("binarise_once", lambda _, grey: (grey > 0.5).astype(np.uint8))
with fault("fixed images are binarised anew", MNIST):
    within("binarized_mnist.load", "build_dataset", dynamic(True))
with fault("a user's grey images are trained on as they are", "test_user_file_of_grey_values[1]"):
    within("user_file.load", "build_dataset", dynamic(False))
with fault("the images of a call that is refused are kept", REFUSED):
    result("of_arrays", lambda own: own.write() or own)
with fault("NaN is taken for a grey value", "test_where_a_value_is_not_finite_is_said"):
    text("wrong_values", "if not («np.isfinite(low) and np.isfinite(high) → True»)")
with fault("bytes count as numbers of another range", BYTES):
    text("conversions.of_values", "«next(lines, _OF_OTHER_VALUES) → _OF_OTHER_VALUES»")
with fault("test images of digits are trained on", DIGITS):
    within("digits.load", "np.split", lambda f, levels, at: f(levels, [at[0], at[1] - at[0]]))
with fault("test and validation are exchanged", MNIST):
    within("binarized_mnist.load", "build_dataset", exchanged_splits)
with fault("the digest forgets the type of its arrays", "test_a_digest_is_of_shape_type_and_bytes"):
    text("dataset.digest", "{array.shape}« {array.dtype.str} → »")
with fault("a published digest has another last digit", "test_published_files"):
    entry("DATASETS", "omniglot", lambda e: replace(e, files=dict.fromkeys(e.files, "md5:2")))
