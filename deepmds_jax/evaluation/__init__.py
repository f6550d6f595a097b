"""How good a reconstruction is, against what, and how it is shown."""
