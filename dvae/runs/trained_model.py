"""A trained model as a Python object: NumPy in, NumPy out. What `dvae.load` gives."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.experiment import ExperimentConfig, check_config
from configs.settings import SETTINGS
from data.dataset import Dataset
from dvae.build import build
from dvae.encoder import Batch
from dvae.evaluation import Evaluator, normalized
from dvae.prior_chains import PriorChains
from dvae.runs import memory, plots, result
from dvae.runs.arrays import (
    BLOCK,
    Encoded,
    LogLikelihood,
    LogPartitionValue,
    binary_row,
    binary_rows,
    block_key,
    check_count,
    in_blocks,
)
from dvae.runs.checkpoints import restore_model
from dvae.runs.directory import RunDirectory, find_data
from dvae.runs.isolation import isolated
from dvae.runs.metrics_file import Curves, read_metrics
from dvae.runs.pictures import Diagnostics
from dvae.runs.records import read_config, read_result
from dvae.runs.weights_file import named_arrays
from dvae.streams import EvaluationKey, Stream, stream_key
from dvae.train_state import NetworkVariables
from dvae.undirected import UndirectedEncoder
from samplers import counter_random, hardware, log_partition
from samplers.boltzmann import BoltzmannMachine
from samplers.energy_model import EnergyModel, Parameters, State
from samplers.log_z_table import Row, measure_all, tracked_row, with_distance


class TrainedModel:
    """The best model of a run; made by `dvae.load` and `dvae.train`.

    Attributes:
      path: the run directory.
      config: its `ExperimentConfig`.
      image_shape: (height, width).
      step: the training step that the weights are of.
      model: the `dvae.model.DVAE` itself, for whoever wants its tensors.
    """

    @isolated()
    def __init__(
        self,
        path: str | Path,
        data_dir: str | None = None,
        step: int | None = None,
        dataset: str | None = None,
        **measuring: Any,
    ) -> None:
        """Reads a run back; see `dvae.load`.

        measuring: settings of measurement to be changed; the seed, of what is drawn.
        """
        self.path = Path(path)
        self._directory = RunDirectory(self.path)
        self._run = read_config(self.path)
        self.config: ExperimentConfig = dataclasses.replace(self._run.config, **measuring)
        check_config(self.config)
        self._data = data_dir, dataset
        memory.check_loading(self.config, self.path)
        self.image_shape, mean = self._directory.read_data_facts()
        self.model, estimator = build(self.config, mean)
        self._sampler = PriorChains(self.config, self.model.prior.energy_model)
        self._key = counter_random.key(self.config.seed)
        chains = self._sampler.init(stream_key(self._key, Stream.INIT))
        variables = NetworkVariables(self.model, estimator)
        state, self.step = restore_model(self._directory, variables.state(chains), step)
        variables.assign(state)
        self._sampler_state, self._chains = state.sampler, self._sampler.chains(state.sampler)
        self._evaluator = Evaluator(self.model)
        self._diagnostics = Diagnostics(self.model, self.image_shape)
        self._encode = hardware.Program(self._encoded)
        self._log_z: LogPartitionValue | None = None

    def __repr__(self) -> str:
        """The run, its model and its likelihood, in one line."""
        trained, quality = self._summary()
        return f"<TrainedModel {self.path}: {trained}; {quality}>"

    def _summary(self) -> tuple[str, str]:
        """What was trained, and how good it is."""
        c, quality = self.config, "unfinished"
        if self._directory.result.exists():
            found = self.result
            low, high = (found["nll_interval"][end] for end in ("low", "high"))
            quality = f"test NLL {found['test_nll']:.2f} {result.span(low, high)} nats"
        trained = f"{c.baseline} on {c.dataset_name}, {c.structure_name}, k={c.k}"
        return f"{trained}, step {self.step:,} of {c.num_train_iter:,}", quality

    @property
    @isolated()
    def history(self) -> Curves:
        """What the run logged in metrics.jsonl: steps and values by name; {} of an exported model.

        The names are those of TensorBoard, such as "train/neg_elbo" and "val/neg_ll"; what they
        mean is in `dvae.runs.tags.DESCRIPTIONS`. Raises KeyError for another name.
        """
        return read_metrics(self._directory.metrics)

    @isolated()
    def plot(self, images: np.ndarray | None = None) -> Any:
        """A matplotlib figure: curves, samples, reconstructions, and a diagnosis of the prior.

        Energies of the prior's samples lie where those of the images' posteriors do if the prior
        is well fitted; an autocorrelation that lasts longer than a step's sweeps warns of chains
        that fall behind; posteriors near 0 and 1 use their bits.

        Args:
          images: [N, X] or [N, height, width] of 0 and 1 to be reconstructed; None: those of the
            test set where the data are found, else samples of the model.

        Raises:
          ValueError: images of another shape, or with other values.
        """
        source = "your images"
        if images is None:
            try:
                source, images = "the test images", self.dataset().test
                images = np.random.default_rng(0).permutation(images)  # some are sorted
            except UserError:
                source, images = "its own samples", self.sample(100, binary=True)
        images = self._rows(images).reshape(-1, *self.image_shape)
        return plots.overview(self, self._summary(), images, source)

    @isolated()
    def dataset(self) -> Dataset:
        """The data that it was trained on. Raises ValueError where they are not to be found."""
        return find_data(self.path, self._run, *self._data)

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json. Raises ValueError while the run is unfinished."""
        if not self._directory.result.exists():
            raise UserError(f"{self.path} has no result yet: the run is unfinished")
        return read_result(self._directory.result)

    @property
    @isolated()
    def prior(self) -> Parameters:
        """The prior's parameters as arrays, in the NamedTuple of its energy model."""
        parameters = self.model.prior.parameters()
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), parameters)

    @property
    @isolated()
    def chains(self) -> np.ndarray:
        """The prior's chains that the run left, float32 [C, D]."""
        return self.model.prior.energy_model.units(self._chains).numpy()

    @isolated()
    def arrays(self) -> dict[str, np.ndarray]:
        """All weights, averages and constants by their place in the model, and "prior.chains".

        Of a prior on a graph also "prior.edges", the latents (i, j) of each coupling, int32 [M, 2].
        What weights.npz of an exported model holds; examples/numpy_reader.py reads it.

        Raises:
          ValueError: two weights of a part of your own have one name.
        """
        arrays, energy_model = named_arrays(self.model), self.model.prior.energy_model
        if isinstance(energy_model, BoltzmannMachine):
            arrays["prior.edges"] = np.array(energy_model.edges, np.int32).reshape(-1, 2)
        return arrays | {"prior.chains": self.chains.astype(np.uint8)}

    @property
    @isolated()
    def tracked_log_partition(self) -> float | None:
        """log Z in nats as the run's sampler tracked it (low if shared), or None."""
        tracked = self._sampler.log_partition(self._sampler_state)
        return None if tracked is None else float(tracked)

    def _stream_key(self, stream: Stream, seed: int | None = None) -> tf.Tensor:
        """The key of one purpose, from a seed or from the run's own."""
        key = self._key if seed is None else counter_random.key(SETTINGS["seed"].checked(seed))
        return stream_key(key, stream)

    @isolated()
    def sample_latents(self, num: int = 100, seed: int | None = None) -> np.ndarray:
        """Samples of the prior, float32 [num, D] of 0 and 1, from the run's chains.

        As good as chains after 1000 more sweeps are; above the number of chains several start from
        one. The first ones do not depend on how many follow. Arguments and errors as in `sample`.
        """
        check_count("num", num)
        memory.check_images(self.config, num)
        key = self._stream_key(Stream.GENERATE, seed)
        prior, chains = self.model.prior, self._chains
        drawn = []
        for block in range(-(-int(num) // BLOCK)):
            start = tf.nest.map_structure(lambda t, n=-block * BLOCK: tf.roll(t, n, axis=0), chains)
            samples = prior.samples(prior.parameters(), start, BLOCK, block_key(key, block))
            drawn.append(samples.numpy())
        return np.concatenate(drawn)[:num]

    @isolated()
    def sample(
        self, num: int = 100, seed: int | None = None, *, binary: bool = False
    ) -> np.ndarray:
        """Images from the model, float32 [num, height, width]: the likelihood's means in [0, 1].

        Args:
          num: how many.
          seed: an integer, of the prior's samples; None: the run's own, so that each call gives the
            same images.
          binary: pixels drawn from the likelihood, 0 and 1, instead of its means.

        Raises:
          ValueError: num is no whole number of at least 1.
        """
        means = self.decode(self.sample_latents(num, seed))
        if not binary:
            return means
        key, shape = self._stream_key(Stream.PIXELS, seed), [BLOCK, *self.image_shape]
        keys = [block_key(key, block) for block in range(-(-int(num) // BLOCK))]
        draws = np.concatenate([counter_random.uniform(key, shape).numpy() for key in keys])
        return np.float32(draws[:num] < means)

    @isolated()
    def interpolate(
        self, a: np.ndarray, b: np.ndarray, num: int = 10, seed: int | None = None
    ) -> np.ndarray:
        """Means of p(x | z) on a way from image a to image b, float32 [num, height, width].

        The way leads from one binary latent state to the other: the latents in which the posterior
        samples of a and b differ change over in a random order, equally many from each picture to
        the next.

        Args:
          a, b: [X] or [height, width] of 0 and 1, or with an axis of 1 before it.
          num: of pictures, both ends among them.
          seed: of the samples and the order; None: the run's own.

        Raises:
          ValueError: images of another shape, or with other values; num is no whole number of at
            least 1.
        """
        check_count("num", num)
        ends = [binary_row("a", a, self._shapes), binary_row("b", b, self._shapes)]
        start, end = self.encode(np.concatenate(ends), seed).latents
        differ = np.flatnonzero(start != end)
        order = counter_random.uniform(self._stream_key(Stream.INTERPOLATION, seed), [len(differ)])
        differ = differ[np.argsort(order)]
        latents = np.repeat(start[None], num, axis=0)
        for row, count in enumerate(np.rint(np.linspace(0, len(differ), num)).astype(int)):
            latents[row, differ[:count]] = end[differ[:count]]
        return self.decode(latents)

    @isolated()
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Means of p(x | z), float32 [N, height, width] in [0, 1], from latents [N, D] of 0 and 1.

        Raises:
          ValueError: latents of another shape, or with other values.
        """
        rows = binary_rows("latents", latents, [(self.config.structure.num_latents,)])
        [means] = in_blocks(lambda block, _: [self._diagnostics.decode(block)], rows)
        return means.reshape(-1, *self.image_shape)

    @isolated()
    def encode(self, images: np.ndarray, seed: int | None = None) -> Encoded:
        """A binary sample of q(z | x) for each image.

        Args:
          images: [N, X] or [N, height, width] of 0 and 1.
          seed: of the sample; None: the run's own.

        Raises:
          ValueError: images of another shape, or with other values.
        """
        key = self._stream_key(Stream.LATENTS, seed)
        latents, probabilities, log_prob = in_blocks(
            lambda block, index: self._encode(block, block_key(key, index)), self._rows(images)
        )
        return Encoded(latents.astype(np.uint8), probabilities, log_prob)

    def _encoded(self, images: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
        encoder = self.model.encoder
        found = encoder.sample_binary(encoder.condition(Batch(images)), 1, key)
        return found.latents, tf.sigmoid(found.params.logits), found.log_q

    @isolated()
    def reconstruct(self, images: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Means of p(x | z) at one sample z of the posterior, float32 [N, height, width].

        Arguments and errors as in `encode`.
        """
        return self.decode(self.encode(images, seed).latents)

    @isolated()
    def count_modes(
        self, images: np.ndarray, num_samples: int = 1000, seed: int | None = None
    ) -> np.ndarray:
        """Modes of the undirected posterior of each image, int [N].

        By mean field from samples of the posterior; a mode with less than 6 of them is not seen.

        Args:
          images: [N, X] or [N, height, width] of 0 and 1.
          num_samples: of each posterior.
          seed: of the samples; None: the run's own.

        Raises:
          ValueError: the model has no undirected posterior; images as in `encode`; no sample.
        """
        encoder = self.model.encoder
        if not isinstance(encoder, UndirectedEncoder):
            raise UserError(
                f"{self.config.baseline} has no undirected posterior, whose modes could be counted"
            )
        rows = self._rows(images)
        check_count("num_samples", num_samples)
        key = self._stream_key(Stream.LATENTS, seed)
        return encoder.count_modes(rows, int(num_samples), key)

    @isolated()
    def log_likelihood(
        self, images: np.ndarray, num_samples: int = 1000, seed: int | None = None
    ) -> LogLikelihood:
        """log p(x) of each image by importance sampling from the encoder, with its error.

        On the test images, with as many samples, the numbers of --mode=evaluate.

        Args:
          images: [N, X] or [N, height, width] of 0 and 1.
          num_samples: importance samples per image.
          seed: of the samples; None: the run's own.

        Raises:
          ValueError: images of another shape, or with other values; no sample.
        """
        rows = self._rows(images).astype(np.uint8)
        check_count("num_samples", num_samples)
        key = counter_random.fold_in(self._stream_key(Stream.EVALUATE, seed), EvaluationKey.TEST)
        found = self._evaluator.per_image(rows, int(num_samples), self.config.eval_batchsize, key)
        log_z = self.log_partition()
        values = -normalized(found, log_z.value).nll
        return LogLikelihood(values, np.sqrt(found.variance), log_z)

    @isolated()
    def log_partition(self) -> LogPartitionValue:
        """log Z of the prior in nats, with its 95 % interval; measured once, seconds at most."""
        if self._log_z is None:
            memory.check_measuring(self.config)
            key = self._stream_key(Stream.EVALUATE)
            key = counter_random.fold_in(key, EvaluationKey.LOG_PARTITION)
            settings = result.ais_settings(self.config)
            found = log_partition.measure(*self._prior_state(), key, settings)
            value = found.best(), *found.interval(), found.status(), found.doubts()
            self._log_z = LogPartitionValue(*value)
        return self._log_z

    def _prior_state(self) -> tuple[EnergyModel, Parameters, State]:
        prior = self.model.prior
        return prior.energy_model, prior.parameters(), self._chains

    @isolated()
    def log_partition_table(self) -> list[Row]:
        """What every estimator says of log Z: rows ready for JSON, see `samplers.log_z_table`."""
        memory.check_measuring(self.config)
        key = self._stream_key(Stream.LOG_Z)
        rows = measure_all(*self._prior_state(), key, result.ais_settings(self.config))
        tracked = self.tracked_log_partition
        if tracked is not None:
            rows.append(tracked_row(tracked, self.config.log_z_population == "shared"))
        return with_distance(rows)

    @isolated()
    def evaluate(self) -> dict[str, Any]:
        """log Z and the likelihood of the test set: the fields of evaluation.json.

        Raises:
          ValueError: the data set is not to be found.
        """
        memory.check_measuring(self.config)
        key = self._stream_key(Stream.EVALUATE)
        return result.evaluate_model(
            self._evaluator, self.config, self.dataset(), self._chains, key
        )

    def _rows(self, images: np.ndarray) -> np.ndarray:
        """Images as float32 [N, X] of 0 and 1."""
        return binary_rows("images", images, self._shapes)

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Those that an image may have."""
        height, width = self.image_shape
        return [(height * width,), (height, width), (height, width, 1)]
