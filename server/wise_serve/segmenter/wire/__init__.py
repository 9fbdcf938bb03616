"""Messages between gateway and segmenter worker, and the socket that carries them."""
