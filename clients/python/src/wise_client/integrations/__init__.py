"""Annotation tools that ask a wise-serve server; each module needs the extra of its name."""
