"""The miniature pair's training: procedural scenes, queries, a tokenizer, two training loops."""
