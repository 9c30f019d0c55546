"""A solve as Dask tasks: chunks, keys, placement, blocks in files, the result as a dask array."""
