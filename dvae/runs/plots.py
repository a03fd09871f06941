"""A run in one figure: its curves, what its model makes, and how its prior is."""

from typing import Any

import numpy as np
import tensorflow as tf

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
_LAGS, _CHAINS, _SWEEPS = 60, 200, 600


def overview(run: Any, images: np.ndarray, source: str) -> Any:
    """A matplotlib figure of a `TrainedModel` and images [N, H, W] of 0 and 1, called `source`."""
    from matplotlib.figure import Figure

    images = images[:_STATISTICS]
    encoded, shown = run.encode(images), images[:_PAIRS]
    latents = {"prior": run.sample_latents(_STATISTICS), "posterior": encoded.latents}
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    figure.suptitle(repr(run)[1:-1], fontsize="medium")
    likelihood, samples, pairs, energy, mixing, posterior = figure.subplots(2, 3).flat
    _draw_curves(likelihood, run.history)
    _show(samples, run.decode(latents["prior"][: _COLUMNS**2]), "samples of the model")
    rows = above_each_other(shown, run.decode(encoded.latents[: len(shown)]), _COLUMNS)
    _show(pairs, rows, f"{source}, each row above its reconstructions")
    _draw_prior(energy, mixing, run, latents)
    posterior.hist(encoded.probabilities.ravel(), bins=50)
    posterior.set(title="posteriors of the images", xlabel="q(z = 1)", yscale="log")
    return figure


def _draw_curves(axes: Any, history: dict[str, Curve]) -> None:
    axes.set(title="likelihood", xlabel="step", ylabel="nats")
    shown = {name: history[name] for name in _CURVES if name in history}
    if not shown:
        axes.text(0.5, 0.5, "an exported model has no curves", ha="center", va="center")
        return
    for name, curve in shown.items():
        style = {} if name.startswith("train/") else {"marker": "o", "markersize": 3}
        axes.plot(*curve, label=_CURVES[name], linewidth=1, **style)
    ends = [curve.values[-1] for curve in shown.values()]
    axes.set_ylim(min(ends) - 5.0, max(ends) + 40.0)  # the first steps would hide the rest
    axes.legend(fontsize="small")


def _draw_prior(energy: Any, mixing: Any, run: Any, latents: dict[str, np.ndarray]) -> None:
    """Energies of latents by what they are of, and the autocorrelation of the prior's."""
    prior, params = run.model.prior.energy_model, run.model.prior.parameters()
    states = {name: prior.state(tf.constant(z, tf.float32)) for name, z in latents.items()}
    for name, state in states.items():
        values = prior.energy(params, state).numpy()
        energy.hist(values, bins=40, alpha=0.6, density=True, label=name)
    energy.set(title="energy of latents", xlabel="nats", yticks=[])
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

    From 600 sweeps of up to 200 chains, about their common mean; biased towards 0 (by the finite
    length) where it lasts for hundreds of sweeps.
    """

    def sweep(chains: State, key: tf.Tensor) -> tuple[State, tf.Tensor]:
        chains = model.sweeps(params, chains, key, 1)
        return chains, model.energy(params, chains)

    advance, energies = hardware.Program(sweep), []
    chains = tf.nest.map_structure(lambda part: part[:_CHAINS], chains)
    for number in range(_SWEEPS):
        chains, energy = advance(chains, counter_random.fold_in(key, number))
        energies.append(energy.numpy())
    centred = np.stack(energies) - np.mean(energies)
    products = [np.mean(centred[: _SWEEPS - lag] * centred[lag:]) for lag in range(_LAGS + 1)]
    return np.array(products) / products[0]
