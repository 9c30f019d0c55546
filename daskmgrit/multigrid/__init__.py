"""The method, as in the paper, on blocks of states. It knows nothing of Dask."""
