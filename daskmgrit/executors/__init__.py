"""Where graphs run: a local Dask scheduler or a cluster, behind one Protocol."""
