"""Grounding: from a referring expression to the region of a picture that it means."""
