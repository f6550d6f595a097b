"""Where faces come from: morphable models, views of them, landmark and shape files."""
