"""A VAE as a textbook writes it, for `benchmarks.start`: from the command to its first step.

python benchmarks/textbook.py NPZ
"""

import sys

import numpy as np
import tensorflow as tf

LATENTS, HIDDEN, BATCH = 200, 200, 100


def main() -> None:
    """One step of Adam on the ELBO of a VAE with normal latents."""
    with np.load(sys.argv[1]) as file:
        images = np.float32(file[file.files[0]])
    images = images.reshape(len(images), -1)
    dense = tf.keras.layers.Dense
    encoder = tf.keras.Sequential([dense(HIDDEN, "tanh"), dense(2 * LATENTS)])
    decoder = tf.keras.Sequential([dense(HIDDEN, "tanh"), dense(images.shape[1])])
    encoder.build((None, images.shape[1]))
    decoder.build((None, LATENTS))
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = tf.keras.optimizers.Adam(3e-4)
    optimizer.build(variables)
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(BATCH)

    @tf.function(jit_compile=True)
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            mean, log_scale = tf.split(encoder(batch), 2, axis=1)
            latents = mean + tf.exp(log_scale) * tf.random.normal(tf.shape(mean))
            cross = tf.nn.sigmoid_cross_entropy_with_logits(batch, decoder(latents))
            kl = 0.5 * (mean**2 + tf.exp(2.0 * log_scale) - 1.0) - log_scale
            loss = tf.reduce_mean(tf.reduce_sum(cross, axis=1) + tf.reduce_sum(kl, axis=1))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    print(float(step(next(iter(batches)))))


if __name__ == "__main__":
    main()
