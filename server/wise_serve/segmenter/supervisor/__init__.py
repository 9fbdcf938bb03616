"""The gateway's side of the segmenter: starts worker processes, watches them, sends requests."""
