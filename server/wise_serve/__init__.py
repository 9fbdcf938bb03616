"""wise-serve: the pixels a sentence means, served at high throughput."""
