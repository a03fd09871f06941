"""Faults of data sets and batches."""

from tests.faults import change, constant, fault

SELECTION = "runs/test_selection.py::test_"


BATCHES = SELECTION + "batches_of_a_run"

FAULTS = (
    fault(
        "all epochs have the same order",
        change("data.batches:epoch_permutation", "epoch & _WORD", "0"),
        "data/test_batches.py::test_each_epoch_is_a_permutation_of_its_own",
        BATCHES,
    ),
    fault(
        "images are drawn with replacement",
        change(
            "data.batches:epoch_permutation",
            "generator.permutation(num_images)",
            "generator.integers(0, num_images, num_images)",
        ),
        "data/test_batches.py::test_each_epoch_is_a_permutation_of_its_own",
        BATCHES,
    ),
    fault(
        "images are not shuffled",
        change(
            "data.batches:epoch_permutation",
            "generator.permutation(num_images)",
            "np.arange(num_images)",
        ),
        "data/test_batches.py::test_each_epoch_is_a_permutation_of_its_own",
    ),
    fault(
        "the batches of a seed are those of another",
        change("data.batches:epoch_permutation", "seed & _WORD", "0"),
        "data/test_batches.py::test_the_seed_matters_and_any_integer_will_do",
    ),
    fault(
        "every call begins an epoch anew",
        change(
            "data.batches:batch_indices",
            "order[first * batch_size : (first + count) * batch_size]",
            "order[: count * batch_size]",
        ),
        "data/test_batches.py::test_division_into_calls_does_not_matter[cuts0]",
        BATCHES,
    ),
    fault(
        "the training mean is that of the levels, not of grey values",
        change("data.dataset:Dataset.train_mean", "* self.grey_unit", ""),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
        "data/test_data.py::test_digits",
    ),
    fault(
        "the training mean is of the test images",
        change(
            "data.dataset:Dataset.train_mean",
            "self.train.mean(axis=0, dtype=np.float64) * self.grey_unit",
            "self.test.mean(axis=0)",
        ),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "the training mean is one number for all pixels",
        change(
            "data.dataset:Dataset.train_mean",
            "mean(axis=0",
            "mean(axis=1)[:1].repeat(self.input_size) + 0 * self.train.mean(axis=0",
        ),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "omniglot's images are not transposed",
        change("data.omniglot:_to_rows", "pictures.transpose(0, 2, 1)", "pictures"),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "omniglot's validation set is the first images",
        change(
            "data.omniglot:load",
            "train, validation = np.split(data, [-NUM_VALIDATION])",
            "validation, train = np.split(data, [NUM_VALIDATION])",
        ),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "validation images are trained on as well",
        change("data.omniglot:load", "grey_levels(train)", "grey_levels(data)"),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "omniglot's training images are binarised once",
        change(
            "data.omniglot:load",
            "image_shape=IMAGE_SHAPE,",
            "image_shape=IMAGE_SHAPE, dynamic_binarization=False,",
        ),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "the fixed binarisation has another seed",
        constant("data.dataset:BINARISATION_SEED", 0),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "grey values are rounded instead of drawn",
        change("data.dataset:binarise_once", "draws < grey", "grey > 0.5"),
        "data/test_data.py::test_omniglot_is_transposed_split_and_binarised",
    ),
    fault(
        "fixed images are binarised anew",
        change(
            "data.binarized_mnist:load", "dynamic_binarization=False", "dynamic_binarization=True"
        ),
        "data/test_data.py::test_binarized_mnist_in_every_form_and_place[.-.npz]",
    ),
    fault(
        "a user's grey images are trained on as they are",
        change(
            "data.user_file:load", "dynamic_binarization=not binary", "dynamic_binarization=False"
        ),
        "data/test_data.py::test_user_file_of_grey_values[1]",
    ),
    fault(
        "test images of digits are trained on",
        change(
            "data.digits:load",
            "[NUM_TEST, NUM_TEST + NUM_VALIDATION]",
            "[NUM_TEST, NUM_VALIDATION]",
        ),
        "data/test_data.py::test_digits",
    ),
    fault(
        "test and validation are exchanged",
        change(
            "data.binarized_mnist:load",
            "validation_grey=validation",
            "validation_grey=test",
            "test_grey=test",
            "test_grey=validation",
        ),
        "data/test_data.py::test_binarized_mnist_in_every_form_and_place[.-.npz]",
    ),
)
