"""The paper's numbers, tables and figures, and ours beside them."""
