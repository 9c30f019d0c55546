"""Colours, HTML and pictures of plain data, without knowledge of the solvers."""
