"""VAE and VQ-VAE on small images: models, training, metrics and figures."""

import lazy_loader

# The names stand in __init__.pyi. They are imported when first used: torch alone takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.2.0"
