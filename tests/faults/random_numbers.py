"""Faults of the random numbers."""

from tests.faults import change, constant, fault, one_step

VECTORS = "samplers/test_counter_random.py::test_published_vectors[13-counter0-key0-expected0]"

FAULTS = (
    fault(
        "Threefry has twelve rounds",
        change("samplers.counter_random:threefry_2x32", "range(rounds)", "range(rounds - 1)"),
        VECTORS,
        *one_step("dvaes_exp-1-1"),
    ),
    fault(
        "a rotation of Threefry is another",
        constant("samplers.counter_random:_ROTATIONS", (13, 15, 26, 6, 17, 29, 16, 25)),
        VECTORS,
    ),
    fault(
        "fold_in forgets the number",
        change("samplers.counter_random:fold_in", "_uint32(data)", "_uint32(0)"),
        "samplers/test_counter_random.py::test_fold_in_and_split_use_streams_of_their_own",
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "tensors under one key share their numbers",
        change("samplers.counter_random:_blocks", "_uint32(stream)", "_uint32(0)"),
        "samplers/test_counter_random.py::test_blocks_against_numpy",
    ),
    fault(
        "bits of zero and one are exchanged",
        change(
            "samplers.counter_random:_hits",
            "_exp2(exponents) + u < 2.0",
            "_exp2(exponents) + u > 2.0",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the four draws of a block are one",
        change(
            "samplers.counter_random:_four_draws",
            "right_shift(word, _uint32(7))",
            "left_shift(word, _uint32(6))",
        ),
        "samplers/test_counter_random.py::test_bits_of_a_block_shared_out",
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "normal numbers have half the radius",
        change("samplers.counter_random:normal", "-2.0 * tf", "-0.5 * tf"),
        *one_step("dvaes_gauss-1-5"),
    ),
)
