"""RBM samplers and log-partition estimators that know nothing of variational autoencoders.

A sampler is `init(...) -> State` and `step(rbm, state, key, ...) -> (State, Info)`: pure functions
of tensors, with the RBM's parameters as arguments, which compile with XLA on CPU and GPU alike.
"""
