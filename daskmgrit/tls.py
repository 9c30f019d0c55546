"""Keys for a Dask cluster of one's own: ``python -m daskmgrit.tls FOLDER`` makes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["read_keys", "write_keys"]

FILES = ("certificate.pem", "key.pem")


def write_keys(folder: str | os.PathLike[str]) -> Any:
    """Put a new certificate and its key into a folder, for all processes of a cluster.

    Parameters
    ----------
    folder : str or path
        The folder; it is made if it is missing. It gets mode 0700, the files 0600.

    Returns
    -------
    distributed.Security
        As :func:`read_keys`.

    Raises
    ------
    ImportError
        If ``cryptography`` is not installed.
    FileExistsError
        If the folder holds keys already, because a cluster may be using them.
    """
    from distributed import Security

    temporary = Security.temporary()
    folder = Path(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for name, text in zip(FILES, (temporary.tls_ca_file, temporary.tls_worker_key), strict=True):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    return read_keys(folder)


def read_keys(folder: str | os.PathLike[str]) -> Any:
    """Return the security of scheduler, workers and client with the keys in a folder.

    Parameters
    ----------
    folder : str or path
        The folder given to :func:`write_keys`.

    Returns
    -------
    distributed.Security
        The same for all: anyone who has the key is trusted. It names the files.

    Raises
    ------
    FileNotFoundError
        If the folder has no keys.
    """
    from distributed import Security

    files = [str(Path(folder).expanduser().absolute() / name) for name in FILES]
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"{file} does not exist: make keys with `python -m daskmgrit.tls FOLDER`")
    certificate, key = files
    roles: dict[str, Any] = {}
    for role in ("scheduler", "worker", "client"):
        roles |= {f"tls_{role}_cert": certificate, f"tls_{role}_key": key}
    return Security(tls_ca_file=certificate, require_encryption=True, **roles)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m daskmgrit.tls FOLDER")
    try:
        write_keys(sys.argv[1])
    except (OSError, ImportError) as error:
        sys.exit(f"no keys were made: {error}")
    print(f"keys written to {sys.argv[1]}: anyone who can read them can run code as you on the cluster that uses them")
