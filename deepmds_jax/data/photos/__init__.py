"""Photographs and films: reading them, finding the faces in them, sets with true shapes."""
