"""A run in one figure: its curves, what its model makes, and how its prior is."""

import textwrap
from typing import Any

import numpy as np
import tensorflow as tf

from configs.text import printable
from dvae.runs.metrics_file import Curve
from dvae.runs.pictures import above_each_other, grid
from dvae.streams import Stream, stream_key
from samplers import counter_random, hardware
from samplers.energy_model import EnergyModel, Parameters, State

_COLUMNS, _PAIRS, _STATISTICS = 10, 50, 1000
_CURVES = {
    "train/neg_elbo": "training, negative ELBO",
    "train/neg_iw_loss": "training, K samples",
    "val/neg_ll": "validation NLL",
    "test/neg_ll": "test NLL",
}
_LAGS, _CHAINS, _SWEEPS = 60, 192, 600
_MARGIN = 40.0  # in nats: what is further from where the curves end, such as the first steps
_LETTERS = 95  # in a line of the title
_LEGEND = (
    "Good: energies of the prior's samples lie where those of the posteriors do; the "
    "autocorrelation has fallen to about 0 after the sweeps of a training step (dotted).\n"
    "q(z = 1) near 0 or 1 is a latent that the image decides; near 0.5 it is noise."
)


def overview(run: Any, title: tuple[str, ...], images: np.ndarray, source: str) -> Any:
    """A matplotlib figure of a `TrainedModel` and images [N, H, W] of 0 and 1, called `source`."""
    from matplotlib.figure import Figure

    images = images[:_STATISTICS]
    encoded, shown = run.encode(images), images[:_PAIRS]
    drawn, of_images = run.sample_latents(_STATISTICS), f"posteriors of {source}"
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    set_title(figure, title)
    figure.supxlabel(_LEGEND, fontsize="small")
    likelihood, samples, pairs, energy, mixing, posterior = figure.subplots(2, 3).flat
    draw_curves(likelihood, run.history)
    _show(samples, run.decode(drawn[: _COLUMNS**2]), "samples of the model")
    rows = above_each_other(shown, run.decode(encoded.latents[: len(shown)]), _COLUMNS)
    _show(pairs, rows, f"{source} above their reconstructions")
    _draw_prior(energy, mixing, run, {"prior": drawn, of_images: encoded.latents})
    posterior.hist(encoded.probabilities.ravel(), bins=50)
    posterior.set(title=of_images, xlabel="q(z = 1)", yscale="log")
    return figure


def set_title(figure: Any, title: tuple[str, ...]) -> None:
    """Sets a title of some lines, which are broken where the figure ends: names may be long."""
    wrapper = textwrap.TextWrapper(_LETTERS, break_on_hyphens=False)
    text = "\n".join(wrapper.fill(printable(part)) for part in title)
    figure.suptitle(text, fontsize="medium", parse_math=False)


def draw_curves(axes: Any, history: dict[str, Curve]) -> None:
    """Draws the curves of a likelihood, in nats, over training steps."""
    axes.set(title="likelihood", xlabel="step", ylabel="nats")
    shown = {name: history[name] for name in _CURVES if name in history}
    if not shown:
        axes.text(0.5, 0.5, "an exported model has no curves", ha="center", va="center")
        return
    for name, curve in shown.items():
        style = {} if name.startswith("train/") else {"marker": "o", "markersize": 3}
        axes.plot(*curve, label=_CURVES[name], linewidth=1, **style)
    ends = [curve.values[-1] for curve in shown.values()]
    values = np.concatenate([curve.values for curve in shown.values()])
    low, high = np.clip([values.min(), values.max()], min(ends) - _MARGIN, max(ends) + _MARGIN)
    axes.set_ylim(low - 0.05 * (high - low) - 0.1, high + 0.05 * (high - low) + 0.1)
    axes.legend(fontsize="small")


def _draw_prior(energy: Any, mixing: Any, run: Any, latents: dict[str, np.ndarray]) -> None:
    """Energies of latents by what they are of, and the autocorrelation of the prior's."""
    prior, params = run.model.prior.energy_model, run.model.prior.parameters()
    states = {name: prior.state(tf.constant(z, tf.float32)) for name, z in latents.items()}
    values = {name: prior.energy(params, state).numpy() for name, state in states.items()}
    bins = np.histogram_bin_edges(np.concatenate([*values.values()]), 40)
    for name, found in values.items():
        energy.hist(found, bins=bins, alpha=0.6, density=True, label=name)
    energy.set(title="energy of latents", xlabel="nats", yticks=[])
    energy.margins(y=0.25)  # room for the legend
    energy.legend(fontsize="small")
    key = stream_key(counter_random.key(run.config.seed), Stream.DIAGNOSIS)
    mixing.plot(_energy_autocorrelation(prior, params, states["prior"], key))
    mixing.axhline(0.0, color="gray", linewidth=0.5)
    mixing.axvline(run.config.num_sweeps, color="gray", linestyle=":", label="a training step")
    mixing.set(title="autocorrelation of the energy", xlabel="sweeps")
    mixing.legend(fontsize="small")


def _show(axes: Any, images: np.ndarray, title: str) -> None:
    tiles = grid(images.reshape(len(images), -1), images.shape[1:], _COLUMNS)
    axes.imshow(tiles[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def _energy_autocorrelation(
    model: EnergyModel, params: Parameters, chains: State, key: tf.Tensor
) -> np.ndarray:
    """Autocorrelation of the energy of chains at fixed parameters, [61]: at 0 to 60 sweeps.

    From 600 sweeps of 192 chains, as `chain_statistics.autocovariance`; biased towards 0 (by the
    finite length) where it lasts for hundreds of sweeps.
    """
    from samplers.chain_statistics import autocovariance  # imports SciPy, which no run needs

    def sweep(chains: State, key: tf.Tensor) -> tuple[State, tf.Tensor]:
        chains = model.sweeps(params, chains, key, 1)
        return chains, model.energy(params, chains)

    advance, energies = hardware.Program(sweep), []
    chains = tf.nest.map_structure(lambda part: part[:_CHAINS], chains)
    for number in range(_SWEEPS):
        chains, energy = advance(chains, counter_random.fold_in(key, number))
        energies.append(energy.numpy())
    covariance = autocovariance(np.stack(energies)).mean(axis=0)
    return covariance[: _LAGS + 1] / covariance[0]
