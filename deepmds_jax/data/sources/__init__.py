"""A module for each kind of data: `load` and `check`, and `load_dense` where there is a surface."""
