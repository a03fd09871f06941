"""What is counted of programs for a GPU, and that every program compiles for one."""

import pytest
import tensorflow as tf

from benchmarks import exported, gpu_compiler, gpu_programs
from configs.registry import BASELINES, SAMPLERS
from samplers import hardware
from tests.helpers.tiny_training import STRUCTURES, config_of, make_program

_LAUNCH = "launch dimensions = blocks: {%d, 1, 1}, threads/block: {%d, 1, 1}, cluster_dim = nullopt"
# An outer loop of unknown length whose trip has a loop of 3 trips, each with a graph.
_THUNKS = f"""001: kCopy
010: kWhile
condition:
    002: kKernel\t, kernel = ask, {_LAUNCH % (1, 1)}
  body:
    000: kCommandBuffer
        003: kGemm
        004: kKernel\t, kernel = draw, {_LAUNCH % (4, 128)}

    009: kWhile
condition:
        005: kKernel\t, kernel = ask, {_LAUNCH % (1, 1)}
      body:
        000: kCommandBuffer
            006: kKernel\t, kernel = draw, {_LAUNCH % (2, 128)}
            007: kKernel\t, kernel = gemm_fusion_1, {_LAUNCH % (1, 64)}
            008: kCopy
"""
_METADATA = """profile_annotation: "outer" thunk_id: 10
profile_annotation: "inner" thunk_id: 9
"""
_HLO = """  %outer = (s32[]) while(%tuple.1), condition=%c, body=%b
  %inner = (s32[]) while(%tuple.2), backend_config={"known_trip_count":{"n":"3"}}
"""


@pytest.fixture
def written(tmp_path):
    """What a compiler would have left of a program."""
    (tmp_path / "m.thunk_sequence.txt").write_text(_THUNKS)
    (tmp_path / "m.thunk_metadata.txt").write_text(_METADATA)
    (tmp_path / "m.sm_9.0a_gpu_after_optimizations.txt").write_text(_HLO)
    return tmp_path


def test_counts(written):
    """Loops count as often as they run, graphs as launches, and the host asks for each trip."""
    found = gpu_programs.count(written)
    trip = found.in_loop
    assert trip["operations"] == 12 and trip["launched_singly"] == 1
    assert trip["graph_launches"] == 1 + 3 and trip["host_round_trips"] == 1
    assert found.in_call["operations"] == 13 and found.in_call["launched_singly"] == 2
    shares = {key: trip[key] for key in gpu_programs.KEYS}
    assert gpu_programs.microseconds(shares) == pytest.approx(12 * 3.0 * 0 + max(26.4, 27.0) + 12.0)


def test_words_choose_programs():
    """ "kernel" those with kernels of ours, among which other words choose."""
    names = [*gpu_programs.PROGRAMS]
    assert sorted(gpu_programs._asked([""])) == sorted([*names, *(f"{n}, kernel" for n in names)])
    assert gpu_programs._asked(["kernel"]) == [f"{name}, kernel" for name in names]
    assert gpu_programs._asked(["200", "AIS"]) == ["sweeps 200x200", "AIS 100x100"]
    assert gpu_programs._asked(["kernel", "AIS"]) == ["AIS 100x100, kernel"]


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_compiler, "BUILD", tmp_path)
    monkeypatch.setattr(gpu_compiler.shutil, "which", lambda name: None)
    with pytest.raises(gpu_compiler.NoCompilerError, match=r"no g\+\+"):
        gpu_compiler.build()


# Every method on every structure, and every sampler: neither knows of the other.
_COMBINATIONS = [
    *((name, struct, "pa") for name in BASELINES if name != "exact" for struct in STRUCTURES),
    *(("dvaes_power", struct, name) for name in SAMPLERS if name != "pa" for struct in STRUCTURES),
]


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("baseline, struct, sampler", _COMBINATIONS)
def test_every_combination_compiles(baseline, struct, sampler):
    method, structure = BASELINES[baseline], STRUCTURES[struct]
    if not method.is_defined(structure.num_groups, 5):
        pytest.skip("the method does not have so many groups")
    for k in {max(k, method.least_k) for k in (1, 5)}:
        how = dict(k=k, sampler=sampler, num_temperatures=2)  # of tempering, with 13 chains
        config = config_of(baseline=baseline, structure=structure, **how)

        def make(config=config):
            program = make_program(config)
            indices = tf.zeros([20, config.train_batchsize], tf.int32)
            arguments = program.arguments(indices, tf.constant(20), hardware.STEPS_A_TRIP)
            return exported.Call(program.compiled, arguments, program.state)

        found = gpu_programs.measure("training", make, "h100")
        assert found["operations"] > 0
        assert found["host_round_trips"] == 1 / hardware.STEPS_A_TRIP


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "name, operations, graph_launches",
    [
        ("sweeps 100x100", 172, 6),
        ("training dvaes_power", 263, 8),
        ("training dvaes_gi", 330, 8),
        ("training dvaes_power, kernel", 80, 2),
        ("AIS 100x100, kernel", 4, 0.5),
        ("tempering 100x100, kernel", 12, 0.5),
    ],
)
def test_operations_stay_few(name, operations, graph_launches):
    """On an H100; half an operation more is the loop over ten steps."""
    make = gpu_programs.PROGRAMS[name.removesuffix(gpu_programs.KERNEL)]
    found = gpu_programs.measure(name, make, "h100")
    assert found["operations"] <= operations and found["graph_launches"] <= graph_launches
    assert found["host_round_trips"] <= 0.1
