"""Block Gibbs sampling as others would write it, timed when their packages are installed.

Each function returns name -> program for one problem (NumPy arrays of the RBM and the chains),
and nothing when the package is missing. None of these packages is ever required.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """RBM parameters [L], [R], [L, R], right halves of the chains [C, R], number of sweeps."""

    left_bias: np.ndarray
    right_bias: np.ndarray
    coupling: np.ndarray
    right: np.ndarray
    num_sweeps: int


Programs = dict[str, Callable[[], Any]]


def torch_programs(problem: Problem) -> Programs:
    """A loop of addmm, sigmoid and Bernoulli draws, with torch.bernoulli or with comparisons."""
    try:
        import torch
    except ImportError:
        return {}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arrays = [torch.tensor(array, device=device) for array in problem[:4]]
    left_bias, right_bias, coupling, start = arrays

    def bernoulli(field: Any) -> Any:
        return torch.bernoulli(torch.sigmoid_(field))

    def compare(field: Any) -> Any:
        return (torch.rand_like(field) < torch.sigmoid_(field)).to(field.dtype)

    def loop(draw: Callable) -> Callable:
        @torch.inference_mode()
        def run() -> Any:
            right = start
            for _ in range(problem.num_sweeps):
                left = draw(torch.addmm(left_bias, right, coupling.T))
                right = draw(torch.addmm(right_bias, left, coupling))
            if device == "cuda":
                torch.cuda.synchronize()
            return right

        return run

    return {"PyTorch, bernoulli": loop(bernoulli), "PyTorch, rand < sigmoid": loop(compare)}


def jax_programs(problem: Problem) -> Programs:
    """A jitted fori_loop with jax.random.bernoulli and a key split for each half."""
    try:
        import jax
    except ImportError:
        return {}
    jnp = jax.numpy

    def draw(key: Any, field: Any) -> Any:
        return jax.random.bernoulli(key, jax.nn.sigmoid(field)).astype(field.dtype)

    @jax.jit
    def run(left_bias: Any, right_bias: Any, coupling: Any, right: Any, key: Any) -> Any:
        def body(step: Any, right: Any) -> Any:
            keys = jax.random.split(jax.random.fold_in(key, step))
            left = draw(keys[0], left_bias + right @ coupling.T)
            return draw(keys[1], right_bias + left @ coupling)

        return jax.lax.fori_loop(0, problem.num_sweeps, body, right)

    arrays = [jnp.asarray(array) for array in problem[:4]]
    key = jax.random.key(1)
    return {"JAX, jitted loop": lambda: run(*arrays, key).block_until_ready()}


def rbms_programs(problem: Problem) -> Programs:
    """The sampler of the package `rbms` (PyTorch inside)."""
    try:
        import torch
        from rbms.bernoulli_bernoulli.classes import BBRBM
    except ImportError:
        return {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bias_and_weights = problem.coupling, problem.left_bias, problem.right_bias
    weights, visible, hidden = (torch.tensor(array, device=device) for array in bias_and_weights)
    rbm = BBRBM(weights, visible, hidden)
    chains = rbm.init_chains(num_samples=len(problem.right))

    def run() -> Any:
        result = rbm.sample_state(chains, problem.num_sweeps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return result

    return {"rbms (PyPI)": run}


def dwave_programs(problem: Problem) -> Programs:
    """The bipartite sampler of D-Wave's PyTorch plugin.

    Its parameters stay as it draws them: they do not change the time.
    """
    try:
        from dwave.plugins.torch.models import GraphRestrictedBoltzmannMachine
        from dwave.plugins.torch.samplers.bipartite_sampler import BipartiteGibbsSampler
    except ImportError:
        return {}
    num_left, num_right = problem.coupling.shape
    nodes = range(num_left + num_right)
    left, right = nodes[:num_left], nodes[num_left:]
    edges = [(i, j) for i in left for j in right]
    machine = GraphRestrictedBoltzmannMachine(nodes, edges, hidden_nodes=list(right))
    schedule = [1.0] * problem.num_sweeps
    sampler = BipartiteGibbsSampler(machine, len(problem.right), schedule)
    return {"D-Wave plugin, bipartite": sampler.sample}


def programs(problem: Problem) -> Programs:
    """The rivals that are installed, but for D-Wave's: it takes seconds a call."""
    return torch_programs(problem) | jax_programs(problem) | rbms_programs(problem)
