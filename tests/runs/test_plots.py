"""What a trained model shows of itself: words, pictures, plots, ways between images."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import dvae
from configs.errors import UserError
from dvae.runs import plots
from dvae.runs.metrics_file import Curve, read_metrics
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
    np.testing.assert_array_equal(way, model.interpolate(a[None], b.reshape(1, -1), 7))
    np.testing.assert_array_equal(way[[0, -1]], model.reconstruct(np.stack([a, b])))
    steps = np.abs(np.diff(way, axis=0)).sum(axis=(1, 2))
    assert np.all(steps > 0) and steps.max() < np.abs(way[-1] - way[0]).sum()
    with pytest.raises(ValueError, match="num is 0"):
        model.interpolate(a, b, 0)


def test_a_plot_has_curves_pictures_and_the_priors_health(model, tmp_path):
    figure = model.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[2].startswith("the test images above their") and len(set(titles)) == 6
    assert figure.get_suptitle().splitlines() == [
        "dvaes_power on digits, 1-layer-nonlin, k=1, step 9,000 of 10,000",
        "test NLL 22.81 [22.77, 22.84] nats",
    ]
    correlation = figure.axes[4].lines[0].get_ydata()
    assert correlation[0] == 1.0 and abs(correlation[-10:]).max() < 0.2  # a prior that mixes
    legend = figure.axes[3].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["prior", "posteriors of the test images"]
    edges = np.reshape([bar.get_x() for bar in figure.axes[3].patches], [2, -1])
    np.testing.assert_array_equal(*edges)  # both histograms have the same bins
    figure.savefig(tmp_path / "plot.png")
    given = model.plot(np.zeros([3, 64]))
    assert given.axes[2].get_title().startswith("your images")
    with pytest.raises(ValueError, match="images have shape"):
        model.plot(np.zeros([3, 65]))


def test_the_title_of_a_plot_is_not_wider_than_it():
    figure, name = Figure(figsize=(14, 8.5)), "a$b$_" + 240 * "W"
    plots.set_title(figure, (f"dvaes_power on {name}, 1-layer-nonlin", "test NLL 22.81"))
    extent = figure._suptitle.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert 0 < extent.x0 and extent.x1 < figure.bbox.width
    assert figure.get_suptitle().splitlines()[-1] == "test NLL 22.81"


@pytest.mark.parametrize(
    ("first", "low", "high"), [(60.0, 30.0, 60.0), (500.0, 30.0, 71.0), (-500.0, -10.0, 31.0)]
)
def test_curves_fill_their_axes_but_for_what_is_far_off(first, low, high):
    """They end at 30 and 31."""
    axes = Figure().subplots()
    curves = {"train/neg_elbo": Curve(np.arange(2), np.array([first, 31.0]))}
    curves["val/neg_ll"] = Curve(np.arange(1), np.array([30.0]))
    plots.draw_curves(axes, curves)
    bottom, top = axes.get_ylim()
    assert low - 3.0 < bottom < low and high < top < high + 3.0


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
    with pytest.raises(KeyError, match="no curve 'aa': did you mean a"):
        found["aa"]
    with pytest.raises(KeyError, match="no curve 'nothing': there are a, b"):
        found["nothing"]
    with pytest.raises(KeyError, match="nothing was logged"):
        model.history["a"]
    assert found.get("nothing") is None
    assert found["a"].steps.tolist() == [1, 9] and found["b"].values.tolist() == [1.0]
    with pytest.raises(UserError):
        read_metrics(tmp_path)
