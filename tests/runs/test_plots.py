"""What a trained model shows of itself: words, pictures, plots, ways between images."""

from pathlib import Path

import numpy as np
import pytest

import dvae
from configs.errors import UserError
from dvae.runs.metrics_file import read_metrics
from dvae.runs.pictures import LEAST_WIDTH, grid

SHIPPED = Path(__file__).parents[2] / "models" / "digits-1-layer-nonlin-dvaes_power-k1"


@pytest.fixture(scope="module")
def model():
    return dvae.load(SHIPPED, data_dir="nowhere")


@pytest.mark.parametrize(("columns", "labels"), [(3, ()), (3, ("a", "b")), (700, ())])
def test_pictures_are_wide_enough_and_pixels_stay_squares(columns, labels):
    images = np.linspace(0.0, 1.0, 6 * 10).reshape(6, 10)
    tiles = grid(images, (5, 2), columns, labels)[..., 0]
    rows, width = -(-6 // columns), columns * 3 + 1
    margin = 60 if labels else 0
    scale = (tiles.shape[1] - margin) // width
    assert tiles.shape == ((rows * 6 + 1) * scale, margin + width * scale)
    assert width * scale >= LEAST_WIDTH > width * (scale - 1)
    cells = tiles[:, margin:].reshape(rows * 6 + 1, scale, width, scale)
    assert np.all(cells == cells[:, :1, :, :1])
    np.testing.assert_array_equal(cells[1:6, 0, 1:3, 0], np.round(255 * images[0].reshape(5, 2)))
    if labels:  # each row has one, not the same
        words = [tiles[6 * scale * row :][: 6 * scale, :margin] for row in (0, 1)]
        assert all(word.min() < 128 for word in words) and np.any(words[0] != words[1])


def test_binary_samples_are_drawn_from_the_means(model):
    means, drawn = model.sample(400), model.sample(400, binary=True)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert not np.any(drawn[means < 1e-7])
    error = np.sqrt(np.sum(means * (1 - means))) / means.size
    assert abs(drawn.mean() - means.mean()) < 4 * error
    np.testing.assert_array_equal(drawn[:9], model.sample(9, binary=True))


def test_interpolation_leads_from_one_image_to_the_other(model):
    a, b = model.sample(2, binary=True)
    way = model.interpolate(a, b.ravel(), 7)
    np.testing.assert_array_equal(way[[0, -1]], model.reconstruct(np.stack([a, b])))
    steps = np.abs(np.diff(way, axis=0)).sum(axis=(1, 2))
    assert np.all(steps > 0) and steps.max() < np.abs(way[-1] - way[0]).sum()
    with pytest.raises(ValueError, match="num is 0"):
        model.interpolate(a, b, 0)


def test_a_plot_has_curves_pictures_and_the_priors_health(model, tmp_path):
    figure = model.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[2].startswith("test images, each row above") and len(set(titles)) == 6
    correlation = figure.axes[4].lines[0].get_ydata()
    assert correlation[0] == 1.0 and abs(correlation[-10:]).max() < 0.2  # a prior that mixes
    legend = figure.axes[3].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["prior", "posterior"]
    figure.savefig(tmp_path / "plot.png")
    given = model.plot(np.zeros([3, 64]))
    assert given.axes[2].get_title().startswith("your images")
    with pytest.raises(ValueError, match="images have shape"):
        model.plot(np.zeros([3, 65]))


def test_summaries_are_one_line_and_say_how_good_it_is(model):
    text = repr(model)
    assert str(SHIPPED) in text and "dvaes_power on digits" in text and "step 9,000" in text
    assert f"test NLL {model.result['test_nll']:.2f} [" in text
    images = model.sample(3, binary=True)
    texts = [text, repr(model.encode(images)), repr(model.log_likelihood(images, 2))]
    assert "3 images, 200 latents" in texts[1] and "3 images: mean -" in texts[2]
    assert all(len(line.splitlines()) == 1 and len(line) < 300 for line in texts)


def test_history_is_curves_without_what_is_damaged(model, tmp_path):
    assert model.history == {}
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": 1, "a": 2.5, "kind": "x"}', b'{"step": 2, "b": 1}', b'{"step": -1, "a": 1}']
    odd = [b'{"step": 3, "a": 1e31, "b": true}', b"[1]", b"\xff", b'{"step": 9, "a": 3.5}', b'{"st']
    path.write_bytes(b"\n".join(lines + odd))
    found = read_metrics(path)
    assert [*found] == ["a", "b"] and repr(found["a"]) == "Curve(2 points, 3.5 at step 9)"
    assert found["a"].steps.tolist() == [1, 9] and found["b"].values.tolist() == [1.0]
    with pytest.raises(UserError):
        read_metrics(tmp_path)
