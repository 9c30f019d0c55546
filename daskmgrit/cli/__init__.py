"""The command line ``daskmgrit``, also ``dask mgrit``: one file per command."""
