"""Bits per dimension that others have published for CIFAR-10, each read in its source.

All are upper bounds, from section 4.1 of van den Oord et al. (2017),
https://arxiv.org/abs/1711.00937. Its VQ-VAE has 8×8×10 codes of 9 bits, 5,760 bits an image, as its
authors say in https://github.com/google-deepmind/sonnet/issues/131. The rates of the others are not
stated.
"""

LIKELIHOODS: dict[str, tuple[float, int | None]] = {  # bits per dimension, bits of the latent
    "VAE": (4.51, None),
    "VQ-VAE": (4.67, 5760),
}
