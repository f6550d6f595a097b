"""The coordinate frames of files: x is right in all of them."""

# Directions of a file's y and z, relative to ours (y down, z away from the viewer).
FRAMES = {"camera": (1, 1, 1), "mesh": (1, -1, -1), "image": (1, 1, -1)}
