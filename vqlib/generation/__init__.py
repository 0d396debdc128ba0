"""Generation: priors over the codes of a VQ-VAE, densities of a VAE's latents, and samples."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
