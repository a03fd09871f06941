"""An exported model: small, complete, described, and left as it is by what is done with it."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import dvae
from configs import registry
from configs.errors import UserError
from configs.registry import BASELINES
from dvae.runs import commands
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from dvae.runs.model_card import model_card, model_name
from dvae.runs.records import read_result
from dvae.runs.trained_model import TrainedModel
from dvae.runs.weights_file import named_arrays
from tests.helpers import tiny_runs
from tests.helpers.works import refused, works

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run, of the same programs as test_interface's, and its configuration."""
    folder = tmp_path_factory.mktemp("export")
    path = tiny_runs.write_data(folder / "own.npz", grey=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.STRUCTURES, "2-layer-nonlin", tiny_runs.TINY)
        model = dvae.train(path, log_dir=folder / "logs", **tiny_runs.ARGUMENTS)
    return model.path, model.config


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, for one's own."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture
def exported(finished, tmp_path):
    """From Python."""
    model = dvae.export(finished[0], tmp_path / "models" / "tiny")
    assert model.path == tmp_path / "models" / "tiny" and model.sample(2).shape == (2, 6, 5)
    return model.path


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def card_of(config, result, facts, arrays=None):
    return model_card(config, result, facts, arrays or {}, Path("models", model_name(config)))


_TENSORS = "manifest.json", "tensors.index", "tensors.data-00000-of-00001"


def test_it_holds_the_best_model_and_nothing_of_training(finished, exported):
    """Nor a place on a machine: not that of the data file, either."""
    run, config = finished
    best, left = read_result(run / "result.json")["best_step"], contents(exported)
    tensors = (f"checkpoints/best-{best:010d}/{name}" for name in _TENSORS)
    described = "README.md config.json data.json result.json samples.png weights.npz"
    assert {str(name) for name in left} == {*described.split(), *tensors}
    theirs, ours = dvae.load(run), dvae.load(exported)
    assert ours.step == best
    np.testing.assert_array_equal(ours.sample(5), theirs.sample(5))
    assert ours.result["test_nll"] == theirs.result["test_nll"]
    for place in (exported.parents[1].parent, Path(config.dataset).parent):
        for name, content in left.items():
            assert str(place) not in content.decode(errors="replace"), name


def test_modes_leave_it_as_it_is(exported, finished, tmp_path):
    before, run_before = contents(exported), contents(finished[0])
    assert RunDirectory(exported).output("logs") == Path("logs/models/tiny")
    assert RunDirectory(finished[0]).output("logs") == finished[0]
    out, model = tmp_path / "new" / "out", TrainedModel(exported, data_dir="/nonexistent")
    assert commands.generate(model, out, num_images=3) == commands.log_z(model, out) == 0
    model = TrainedModel(exported, data_dir=".", dataset=finished[1].dataset)
    assert commands.evaluate(model, out) == 0
    assert contents(exported) == before and contents(finished[0]) == run_before
    made = {path.name for path in out.iterdir()}
    assert made == {"generated.png", "generated.npz", "log_z.json", "evaluation.json"}
    again = json.loads((out / "evaluation.json").read_text())
    stored = read_result(exported / "result.json")
    assert again["log_z"] == pytest.approx(stored["log_z"], abs=1e-4)  # enumerated
    assert again["test_nll"] == pytest.approx(stored["test_nll"], abs=1.0)  # other samples
    (tmp_path / "file").write_text("in the way")
    for mode, more in ((commands.generate, {"num_images": 1}), (commands.log_z, {})):
        with pytest.raises(UserError, match=r"cannot write to .*: choose another out_dir"):
            mode(model, tmp_path / "file" / "out", **more)


def test_the_card_says_what_the_results_say(finished, exported):
    _, config = finished
    result, text = read_result(exported / "result.json"), (exported / "README.md").read_text()
    assert f"**{result['test_nll']:.2f} nats**" in text
    assert f"**{result['log_z']:.3f} nats**" in text and "exact: the prior was enumerated" in text
    assert "DVAE#" in text and "arXiv 1805.07445" in text and "1,000,000" in text
    interval = {**result["log_z_interval"], "exact": None, "upper_status": "checked"}
    facts = json.loads((exported / "data.json").read_text())
    checked = card_of(config, {**result, "log_z_interval": interval}, facts)
    assert f"reverse AIS {interval['reverse_ais']:.3f}" in checked
    assert "no certificate" in " ".join(checked.split())
    full = dataclasses.replace(config, num_train_iter=1_000_000, baseline="dvae_spike_exp")
    assert "the published number of steps" in card_of(full, result, facts)
    assert "arXiv 1609.02200" in card_of(full, result, facts)
    for baseline in set(BASELINES) - {"exact"}:  # which nobody published
        named = dataclasses.replace(config, baseline=baseline)
        assert "the method: your own" not in card_of(named, result, facts), baseline


def test_by_default_it_is_no_shipped_model_and_the_card_says_so(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = export_run(finished[0])
    assert path.parts[0] not in ("models", "logs") and not path.is_absolute()
    text = (path / "README.md").read_text()
    uses = re.findall(r"--run=(\S+)", text) + re.findall(r'load\("(.*)"\)', text)
    assert len(uses) == 4 and {Path(use) for use in uses} == {path}
    [words] = re.findall("--mode=evaluate (.*)", text)
    assert shlex.split(words)[1] == f"--dataset={Path(finished[1].dataset).name}"
    assert "LOG_DIR/data" in text and "prior.edges" not in text
    public = dataclasses.replace(finished[1], dataset="digits")
    facts, result = json.loads((path / "data.json").read_text()), read_result(path / "result.json")
    text = card_of(public, result, facts, {"prior.edges": np.zeros([3, 2])})
    assert "--data_dir=datasets" in text and "LOG_DIR/data" not in text
    assert "in row m of\n`prior.edges`" in text
    elsewhere = export_run(finished[0], tmp_path / "a b" / "mine")
    assert "--run='a b/mine'" in (elsewhere / "README.md").read_text()
    assert f"seed{finished[1].seed}" in path.name  # another seed lies elsewhere


def test_what_cannot_be_exported(run, exported, tmp_path):
    with refused("exists: remove it, or choose another out_dir"):
        export_run(run, exported)
    with refused("another out_dir", ValueError):
        dvae.export(run, exported)
    [tensors] = run.glob("checkpoints/best-*/tensors.data-*")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    best = read_result(run / "result.json")["best_step"]
    with refused(f"no best checkpoint of step {best} that is whole"):
        export_run(run, tmp_path / "damaged" / "model")
    (run / "result.json").unlink()
    with refused("not finished"):
        export_run(run, tmp_path / "damaged" / "model")
    assert not any((tmp_path / "damaged").iterdir())


_BEST = "checkpoints/best-*"
_LINKED = {
    **{name: name for name in ("config.json", "data.json", "samples.png", "checkpoints")},
    **{"manifest": f"{_BEST}/manifest.json", "tensors": f"{_BEST}/tensors.index"},
    "checkpoint": _BEST,
}


@pytest.mark.parametrize("which", _LINKED)
def test_nothing_is_exported_that_a_link_leads_to(run, tmp_path, which):
    """A model that somebody sent may name any file of this machine so."""
    [path] = run.glob(_LINKED[which])
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with refused("is a link"):
        export_run(run, tmp_path / "model")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "run"]


def test_only_what_the_manifest_names_is_exported(run, tmp_path):
    [best] = run.glob(_BEST)
    (best / "secret").symlink_to("/etc/passwd")
    (best / "more").write_text("more")
    (run / "checkpoints" / "notes.txt").write_text("notes")
    names = {path.name for path in export_run(run, tmp_path / "model").rglob("*")}
    assert not names & {"secret", "more", "notes.txt"} and "tensors.index" in names


def test_names_of_others_are_text_in_the_card(finished, exported):
    """No markup, no line of their own, no command of a shell."""
    _, config = finished
    odd = "a`|b <img src=x> [l](e) $(id) ; rm.npz"
    result, facts = read_result(exported / "result.json"), {"image_shape": [6, 5]}
    result["code"] = {"commit": "c\n# h <b>", "sources": None}
    result["protocol"] |= {"data_sha256": "`x`", "ais_base": "|", "test_binarization": "<i>"}
    facts["notes"] = "x | y\n\n<script> ![p](http://e)"
    text = card_of(dataclasses.replace(config, dataset=odd), result, facts)
    markup = re.sub(r"(?<!\\)`[^`\n]*`", "", "\n".join(text.split("```")[::2]))
    assert not any(piece in markup for piece in ("<img", "<script", "<i>", "<b>", "://"))
    assert "\\[l\\](e)" in markup
    assert "\n# h" not in markup and markup.count("\n# ") == 0
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {3}
    [command] = [line for line in text.splitlines() if "--mode=log_z" in line]
    words = shlex.split(command, comments=True)
    assert words[-1] == f"--run=models/{model_name(dataclasses.replace(config, dataset=odd))}"


def network_of_ones_own(last):
    """A layer that holds layers in every way that Keras tracks."""
    layers, own = keras.layers, keras.layers.Layer()
    block = [layers.Reshape((6, 5, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D()]
    block += [layers.Flatten(), layers.Dense(4), layers.LayerNormalization(), layers.Dense(3)]
    own.network = keras.Sequential(block)
    own.network.build((None, 30))
    own.by_name, own._hidden = {"a": [layers.Dense(2)]}, layers.Dense(2)
    for dense in (own.by_name["a"][0], own._hidden):
        dense.build((None, 3))
    names = "kernel", "other", last
    own.scale, own._more, own._last = (own.add_weight(shape=(2,), name=name) for name in names)
    own.build(None)
    return own


def test_every_weight_has_a_place_of_its_own():
    own = network_of_ones_own("last")
    with works(UserError):
        arrays = named_arrays(own)
    assert len(arrays) == len(own.variables) == 8 + 4 + 3
    for index in (1, 4, 6):
        layer = own.network.layers[index]
        np.testing.assert_array_equal(arrays[f"network.layers.{index}.kernel"], layer.kernel)
    np.testing.assert_array_equal(arrays["by_name.a.0.kernel"], own.by_name["a"][0].kernel)
    np.testing.assert_array_equal(arrays["scale"], own.scale)
    with refused("two weights of the model are called other"):
        named_arrays(network_of_ones_own("other"))


SHIPPED = sorted(path.parent for path in (ROOT / "models").glob("*/README.md"))
assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_models_are_small_sound_and_described_by_their_results(path):
    assert sum(map(len, contents(path).values())) <= 5_000_000
    model = dvae.load(path)
    name, facts = model_name(model.config), json.loads((path / "data.json").read_text())
    assert path.name in (name, f"{name}-{model.config.num_train_iter}")
    assert (path / "README.md").read_text() == model_card(
        model.config, model.result, facts, model.arrays(), path.relative_to(ROOT)
    )
    images = model.sample(20)
    assert images.shape == (20, *model.image_shape) and 0.0 <= images.min() < images.max() <= 1.0
    with np.load(path / "weights.npz") as stored:
        assert {*stored} == {*model.arrays()}
        for place, array in model.arrays().items():
            np.testing.assert_array_equal(stored[place], array, strict=True)
