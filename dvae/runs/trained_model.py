"""A trained model as a Python object: NumPy in, NumPy out. What `dvae.load` gives."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.experiment import ExperimentConfig, check_config
from data.dataset import Dataset
from dvae.build import build
from dvae.encoder import Batch
from dvae.evaluation import Evaluator, normalized
from dvae.prior_sampler import PriorSampler
from dvae.runs import memory, result
from dvae.runs.arrays import (
    BLOCK,
    Encoded,
    LogLikelihood,
    LogPartitionValue,
    binary_rows,
    block_key,
    check_count,
    checked_seed,
    in_blocks,
)
from dvae.runs.checkpoints import restore_model
from dvae.runs.directory import RunDirectory, find_data
from dvae.runs.isolation import isolated
from dvae.runs.pictures import Inspector
from dvae.runs.records import read_config, read_result
from dvae.runs.weights_file import named_arrays
from dvae.streams import EvaluationKey, Stream, stream_key
from dvae.train_state import NetworkVariables
from dvae.undirected import UndirectedEncoder
from samplers import counter_random, hardware, log_partition
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
        self._sampler = PriorSampler(self.config, self.model.prior.energy_model)
        self._key = counter_random.key(self.config.seed)
        chains = self._sampler.init(stream_key(self._key, Stream.INIT))
        variables = NetworkVariables(self.model, estimator)
        state, self.step = restore_model(self._directory, variables.state(chains), step)
        variables.assign(state)
        self._sampler_state = state.sampler

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
        return self.model.prior.energy_model.units(self._chains()).numpy()

    @isolated()
    def arrays(self) -> dict[str, np.ndarray]:
        """All weights, averages and constants by their place in the model, and "prior.chains".

        What weights.npz of an exported model holds; examples/numpy_reader.py reads it.
        """
        return named_arrays(self.model) | {"prior.chains": self.chains.astype(np.uint8)}

    @property
    @isolated()
    def tracked_log_partition(self) -> float | None:
        """log Z in nats as the run's sampler tracked it (low if shared), or None."""
        tracked = self._sampler.log_partition(self._sampler_state)
        return None if tracked is None else float(tracked)

    def _chains(self) -> State:
        return self._sampler.chains(self._sampler_state)

    def _stream_key(self, stream: Stream, seed: int | None = None) -> tf.Tensor:
        """The key of one purpose, from a seed or from the run's own."""
        key = self._key if seed is None else counter_random.key(checked_seed(seed))
        return stream_key(key, stream)

    @isolated()
    def sample_latents(self, num: int = 100, seed: int | None = None) -> np.ndarray:
        """Samples of the prior, float32 [num, D] of 0 and 1, from the run's chains.

        As good as chains after 1000 more sweeps are; above the number of chains several start from
        one. The first ones do not depend on how many follow. Arguments and errors as in `sample`.
        """
        check_count("num", num)
        memory.check_images(self.config, num, "images")
        key = self._stream_key(Stream.GENERATE, seed)
        prior, chains = self.model.prior, self._chains()
        drawn = []
        for block in range(-(-int(num) // BLOCK)):
            start = tf.nest.map_structure(lambda t, n=-block * BLOCK: tf.roll(t, n, axis=0), chains)
            samples = prior.samples(prior.parameters(), start, BLOCK, block_key(key, block))
            drawn.append(samples.numpy())
        return np.concatenate(drawn)[:num]

    @isolated()
    def sample(self, num: int = 100, seed: int | None = None) -> np.ndarray:
        """Images from the model: the likelihood's means, float32 [num, height, width] in [0, 1].

        Args:
          num: how many.
          seed: an integer, of the prior's samples; None: the run's own, so that each call gives the
            same images.

        Raises:
          ValueError: num is no whole number of at least 1.
        """
        return self.decode(self.sample_latents(num, seed))

    @isolated()
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Means of p(x | z), float32 [N, height, width] in [0, 1], from latents [N, D] of 0 and 1.

        Raises:
          ValueError: latents of another shape, or with other values.
        """
        rows = binary_rows("latents", latents, [(self.config.structure.num_latents,)])
        [means] = in_blocks(lambda block, _: [self._inspector.decode(block)], rows)
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
        key = self._stream_key(Stream.INSPECTION, seed)
        latents, probabilities, log_prob = in_blocks(
            lambda block, index: self._encoded(block, block_key(key, index)), self._rows(images)
        )
        return Encoded(latents.astype(np.uint8), probabilities, log_prob)

    @cached_property
    def _encoded(self) -> hardware.Program:
        def encode(images: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
            encoder = self.model.encoder
            found = encoder.sample_binary(encoder.condition(Batch(images)), 1, key)
            return found.latents, tf.sigmoid(found.params.logits), found.log_q

        return hardware.Program(encode)

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
        key = self._stream_key(Stream.INSPECTION, seed)
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
        return self._log_partition

    def _prior_state(self) -> tuple[EnergyModel, Parameters, State]:
        prior = self.model.prior
        return prior.energy_model, prior.parameters(), self._chains()

    @cached_property
    def _log_partition(self) -> LogPartitionValue:
        memory.check_measuring(self.config)
        key = counter_random.fold_in(self._stream_key(Stream.EVALUATE), EvaluationKey.LOG_PARTITION)
        found = log_partition.measure(*self._prior_state(), key, result.ais_settings(self.config))
        return LogPartitionValue(found.best(), *found.interval(), found.status(), found.doubts())

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
            self._evaluator, self.config, self.dataset(), self._chains(), key
        )

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.model)

    @cached_property
    def _inspector(self) -> Inspector:
        return Inspector(self.model, self.image_shape)

    def _rows(self, images: np.ndarray) -> np.ndarray:
        """Images as float32 [N, X] of 0 and 1."""
        height, width = self.image_shape
        return binary_rows("images", images, [(height * width,), (height, width)])
