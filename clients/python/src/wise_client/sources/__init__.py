"""The inputs of a batch, read as they are needed: folders, pairs, COCO, Parquet, WebDataset."""
