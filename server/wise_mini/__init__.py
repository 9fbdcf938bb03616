"""The miniature models: procedural scenes, a tokenizer, training, and the trained weights.

A demonstration pair, trained from scratch on drawn shapes. It runs through the same vLLM, the same
SAM 2 code and the same prompts as the public checkpoints, and says nothing about their quality.
"""
