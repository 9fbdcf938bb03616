"""A finished batch as a training set: COCO, YOLO-seg, LabelMe, PNG masks, Parquet with images."""
