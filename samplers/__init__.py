"""Samplers of energy models and estimators of log Z; they know nothing of variational autoencoders.

A model (`samplers.energy_model.EnergyModel`) is the first argument of all of them, its parameters
the second. A sampler is `init(model, ...) -> State` and `step(model, params, state, key, ...) ->
(State, Info)`: pure functions of tensors, which compile with XLA on CPU and GPU alike.
"""
