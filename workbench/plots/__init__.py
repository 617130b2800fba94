"""Pictures of prices, training, attention and money: arrays and frames in, Axes out.

Every function draws on the `ax` it is given, or makes a figure that suits a notebook's width, and leaves
showing it to the caller. Functions that draw one panel return its Axes, others a dict of Axes by name.
Colours are told apart under colour blindness and follow the background: see `theme`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
