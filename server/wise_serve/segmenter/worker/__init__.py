"""The segmenter worker process: receives prompts, forms batches, runs the model."""
