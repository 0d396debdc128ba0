"""The explorer page: one HTML file in which trained models run in the reader's browser."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
