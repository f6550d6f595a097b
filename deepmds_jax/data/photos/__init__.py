"""Photographs: reading them, finding the faces in them, and sets of them with true shapes."""
