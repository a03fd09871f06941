"""Time of a sweep of one chain on a graph: ours beside other programs, where installed.

    python -m benchmarks.graph_sweeps --priors=zephyr:3,pegasus:4,partite:4 --latents=200

All draw every unit from its conditional distribution at inverse temperature 1 (dwave-samplers:
simulated annealing at constant beta with its Gibbs rule; thrml and the BlockSampler of
dwave-pytorch-plugin: block Gibbs over the same colours).
Wall-clock and processor time, the best of several calls; what compiles is called once before.
"""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import records
from configs import graphs
from configs.registry import Structure
from dvae.priors import energy_model
from samplers import counter_random, hardware
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters, spins

CHAINS, SWEEPS, REPEATS = 1000, 20, 5

SWEPT = hardware.Program(
    lambda model, params, start, key: model.units(model.sweeps(params, start, key, SWEEPS))
)


def ours(model: BoltzmannMachine, params: BoltzmannParameters) -> Callable[[], object]:
    """The kernel that the model's density chooses."""
    key = counter_random.key(1)
    start = model.start(CHAINS, key)
    return lambda: SWEPT(model, params, start, key).numpy()


def of_dwave(model: BoltzmannMachine, params: BoltzmannParameters) -> Callable[[], object]:
    """Its annealer in C++, one thread."""
    import dimod
    from dwave.samplers import SimulatedAnnealingSampler

    field, coupling, _ = spins(model, params)
    pairs = dict(zip(model.edges, -coupling.numpy(), strict=True))
    bqm = dimod.BinaryQuadraticModel.from_ising(dict(enumerate(-field.numpy())), pairs)
    options = {
        "beta_schedule_type": "custom",
        "beta_schedule": np.ones(1),
        "num_sweeps_per_beta": SWEEPS,
        "proposal_acceptance_criteria": "Gibbs",
    }
    sampler = SimulatedAnnealingSampler()
    return lambda: sampler.sample(bqm, num_reads=CHAINS, seed=1, **options)


def of_thrml(model: BoltzmannMachine, params: BoltzmannParameters) -> Callable[[], object]:
    """Its block Gibbs in JAX, all chains by vmap."""
    import jax
    import jax.numpy as jnp
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init

    field, coupling, _ = spins(model, params)
    nodes = [SpinNode() for _ in range(model.num_units)]
    edges = [(nodes[i], nodes[j]) for i, j in model.edges]
    arrays = jnp.asarray(field.numpy()), jnp.asarray(coupling.numpy())
    ebm = IsingEBM(nodes, edges, *arrays, jnp.array(1.0))
    blocks = [Block([nodes[unit] for unit in units]) for units in model.classes]
    program = IsingSamplingProgram(ebm, blocks, clamped_blocks=[])
    schedule = SamplingSchedule(n_warmup=SWEEPS - 1, n_samples=1, steps_per_sample=1)
    start = hinton_init(jax.random.key(0), ebm, blocks, (CHAINS,))
    keys = jax.random.split(jax.random.key(1), CHAINS)

    def one(key: object, state: object) -> object:
        return sample_states(key, program, schedule, state, [], [Block(nodes)])

    run = jax.jit(jax.vmap(one))
    return lambda: jax.block_until_ready(run(keys, start))


def of_plugin(model: BoltzmannMachine, params: BoltzmannParameters) -> Callable[[], object]:
    """D-Wave's block sampler in PyTorch; its chains go on from call to call."""
    from dwave.plugins.torch.models import GraphRestrictedBoltzmannMachine
    from dwave.plugins.torch.samplers import BlockSampler

    field, coupling, _ = spins(model, params)
    linear = dict(enumerate(-field.numpy().astype(float)))
    quadratic = dict(zip(model.edges, -coupling.numpy().astype(float), strict=True))
    of = GraphRestrictedBoltzmannMachine(linear, quadratic, linear=linear, quadratic=quadratic)
    color = {unit: c for c, units in enumerate(model.classes) for unit in units}
    return BlockSampler(of, color.__getitem__, CHAINS, [1.0] * SWEEPS, seed=1).sample


PROGRAMS = {
    "ours": ours,
    "dwave-samplers": of_dwave,
    "dwave-pytorch-plugin": of_plugin,
    "thrml": of_thrml,
}


def main() -> None:
    """Prints a row for each graph and program, in microseconds for a sweep of a chain."""
    parser = records.parser(__doc__)
    parser.add_argument("--priors", type=records.names, default=["zephyr:3", "partite:4"])
    parser.add_argument("--latents", type=int, default=200)
    parser.add_argument("--programs", type=records.names, default=[*PROGRAMS])
    options = parser.parse_args()
    rows = []
    for prior in options.priors:
        model = energy_model(graphs.with_prior(Structure(1, options.latents, 0), prior))
        rng = np.random.default_rng(1)
        numbers = rng.normal(size=model.num_units), 0.1 * rng.normal(size=len(model.edges))
        params = BoltzmannParameters(*(tf.constant(part, tf.float32) for part in numbers))
        for name in options.programs:
            try:
                run = PROGRAMS[name](model, params)
            except ImportError as error:
                print(f"{name} is not installed ({error})")
                continue
            run()
            times = []
            for _ in range(REPEATS):
                before = time.perf_counter(), time.process_time()
                run()
                times.append((time.perf_counter() - before[0], time.process_time() - before[1]))
            least = 1e6 * np.min(times, axis=0) / (CHAINS * SWEEPS)
            rows.append([prior, name, f"{least[0]:.2f}", f"{least[1]:.2f}"])
            print(*rows[-1], flush=True)
    print(records.table(["prior", "program", "wall, us", "processor, us"], rows))


if __name__ == "__main__":
    main()
