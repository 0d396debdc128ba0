"""A study: what a preset asks for, how it runs, and the summary of its results."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
