"""Keys for the lifetime of one SLURM cluster."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import weakref
from pathlib import Path

from daskmgrit.tls import write_keys

__all__ = ["TemporaryKeys"]


class TemporaryKeys:
    """Keys in a new folder, with mode 0700, until :meth:`remove`.

    Parameters
    ----------
    parent : str
        A folder that all nodes see.

    Attributes
    ----------
    folder : Path
        The folder of the keys.
    security : distributed.Security
        The security of scheduler, workers and client; it names the files.

    Raises
    ------
    ImportError
        If ``cryptography`` is not installed.
    ValueError
        If `parent` is not a folder that can be written to, or its name cannot be used in a job script unchanged.
    """

    def __init__(self, parent: str) -> None:
        path = Path(parent).expanduser().absolute()
        remedy = "set jobqueue.slurm.shared-temp-directory in dask.config to a folder that all nodes see"
        # dask-jobqueue writes the names of the files into a shell script as they are.
        if shlex.quote(str(path)) != str(path):
            raise ValueError(f"the folder {str(path)!r} cannot be named in a job script: {remedy}, without such signs")
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=".daskmgrit-keys-", dir=path))
        except OSError as error:
            raise ValueError(f"no TLS keys can be put into {path}: {error.strerror}; {remedy}") from error
        # Also where the interpreter ends without a call of remove().
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.security = write_keys(self.folder)

    def remove(self) -> None:
        """Remove the keys."""
        self._remove()
