"""The miniature models: procedural scenes, a tokenizer, training, and the trained weights.

A demonstration pair, trained from scratch on drawn shapes. It runs through the same vLLM, the same
SAM 2 code and the same prompts as the public checkpoints, and says nothing about their quality.
"""

from pathlib import Path

REASONER_FOLDER = Path(__file__).parent / "weights" / "reasoner"
REASONER_IMAGE_SIZE = 224  # side of the square the miniature reasoner reads, pixels
