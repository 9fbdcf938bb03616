"""The packaged miniature models: their weights and configuration.

A demonstration pair, trained from scratch on drawn shapes (`training/miniature`). It runs through
the same vLLM, the same SAM 2 code and the same prompts as the public checkpoints, and says nothing
about their quality.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
REASONER_FOLDER = FOLDER / "weights" / "reasoner"
REASONER_IMAGE_SIZE = 224  # side of the square the miniature reasoner reads, pixels
SEGMENTER_WEIGHTS = FOLDER / "weights" / "segmenter.safetensors"
