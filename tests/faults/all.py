"""All faults, by the room that they are put into."""

from tests.faults import classics, dvae_model, dvae_training, protocol, samplers

FAULTS = (
    *classics.FAULTS,
    *protocol.FAULTS,
    *dvae_model.FAULTS,
    *dvae_training.FAULTS,
    *samplers.FAULTS,
)
# Changes that cannot be seen because they change nothing: what they are, and why.
EQUIVALENT: tuple[tuple[str, str], ...] = ()
