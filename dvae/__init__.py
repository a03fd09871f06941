"""Discrete VAEs with Boltzmann-machine priors: the method, and its Python interface.

    import dvae
    run = dvae.train(dataset="digits", struct="1-layer-nonlin", num_train_iter=2000)
    run = dvae.load("logs/digits/...")
    run.sample(100), run.log_likelihood(images), run.log_partition()

The modules beside this file are the method, from smoothing to evaluation; `dvae.runs` is the life
of a run. The interface is loaded when it is first used, so that the method can be imported alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvae.runs.interface import export, load, train
    from dvae.runs.trained_model import TrainedModel

__all__ = ["TrainedModel", "export", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dvae' has no attribute '{name}'")
    from dvae.runs.isolation import isolated

    with isolated():
        from dvae.runs import interface
    return getattr(interface, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
