"""wise-serve: the pixels a sentence means, served at high throughput."""

__version__ = "0.1.0"
