"""Measurements that print ratios: against PyMGRIT, against Dask itself, against the critical path, and of memory.

``python -m benchmarks --help`` lists them. They run from a checkout; the package does not install them.
"""
