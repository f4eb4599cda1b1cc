"""The compiled kernels; use them through :mod:`precast.kernels`."""

__version__: str
