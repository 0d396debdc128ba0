"""Checks of functions that a reader writes: a tick, or what is wrong and a hint.

`check.nearest_codes(mine)` compares `mine` with the library on a few inputs. These are the checks
of the notebooks in `notebooks/exercises/`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
