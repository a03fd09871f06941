"""What programs are laid out for: set once, found where nothing has set it."""

import pytest
import tensorflow as tf

from benchmarks import exported, records
from dvae.runs import isolation
from samplers import hardware


@pytest.fixture(params=["cpu", "gpu"])
def found(request, monkeypatch):
    """What TensorFlow sees; nothing has set a layout."""
    monkeypatch.setattr(hardware, "_chosen", None)
    devices = ["a card"] if request.param == "gpu" else []
    monkeypatch.setattr(hardware.tf.config, "get_visible_devices", lambda kind: devices)
    return request.param


def test_what_is_set_counts_and_else_what_is_seen(found):
    assert hardware.layout() == found
    with hardware.use("gpu"):
        assert hardware.on_gpu()
        with hardware.use("cpu"):
            assert not hardware.on_gpu()
        assert hardware.on_gpu()
    assert hardware.layout() == found
    for layout in ("gpu", "cpu"):
        hardware.use(layout)
        assert hardware.layout() == layout
    with pytest.raises(ValueError, match="'tpu' is none of the layouts cpu, gpu"):
        hardware.use("tpu")
    assert hardware.layout() == "cpu"


def test_a_run_keeps_the_layout_that_it_starts_with(found, monkeypatch):
    """It looks at the devices once; what is set before it stays set, within it and after."""
    with isolation.isolated():
        monkeypatch.setattr(hardware.tf.config, "get_visible_devices", None)
        assert hardware.layout() == found
    assert hardware._chosen is None
    for layout in ("cpu", "gpu"):
        with hardware.use(layout), isolation.isolated():
            assert hardware.layout() == layout


def test_a_program_of_ours_sets_the_layout_of_its_device(found, monkeypatch):
    monkeypatch.setattr(records, "share_gpus", lambda: None)
    for name in ("enable_op_determinism", "enable_tensor_float_32_execution"):
        monkeypatch.setattr(tf.config.experimental, name, lambda *_: None)
    records.prepare_device()
    assert hardware._chosen == found


def test_no_layout_gets_the_program_of_another():
    """Called, looked at or exported; a second call traces nothing."""
    traced = []

    @hardware.Program
    def program(x):
        traced.append(hardware.layout())
        return x + (2.0 if hardware.on_gpu() else 1.0)

    def constants(text):
        return [line.split("constant(")[1][0] for line in text.splitlines() if "constant(" in line]

    one = tf.constant(1.0)
    for _ in range(2):
        for layout, expected in (("cpu", 2.0), ("gpu", 3.0)):
            with hardware.use(layout):
                assert float(program(one)) == expected
                text = program.experimental_get_compiler_ir(one)(stage="hlo")
            assert constants(text) == [str(int(expected - 1.0))]
    assert traced == ["cpu", "gpu"]
    with hardware.use("cpu"):
        hlo = exported.export(lambda: exported.Call(program, (one,))).hlo
        assert hardware.layout() == "cpu"
    assert traced == ["cpu", "gpu"] and hlo
