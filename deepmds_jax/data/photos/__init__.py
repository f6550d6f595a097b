"""Photographs: reading them, and finding the faces in them."""
