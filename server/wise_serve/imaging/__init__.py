"""Bytes to pixels, and masks in their formats."""
