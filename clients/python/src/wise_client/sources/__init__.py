"""What a batch is asked about, read as it is needed: folders, pairs, COCO, Parquet, WebDataset."""
