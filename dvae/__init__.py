"""Discrete variational autoencoders with Boltzmann-machine priors: DVAE, DVAE++ and DVAE#."""
