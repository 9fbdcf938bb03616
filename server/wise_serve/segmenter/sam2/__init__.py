"""SAM 2 on a torch device, in batches across requests."""
