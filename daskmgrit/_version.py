"""The version, from its one source: the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("daskmgrit")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"
