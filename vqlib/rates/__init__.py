"""Rates and distortion: what an image costs in bits, what it loses, and systems to compare with."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
