"""The App of FiftyOne with masks of the example image, for `draw_pictures.py`."""

import os
import sys

os.environ["FIFTYONE_DATABASE_DIR"] = f"{os.environ['WISE_FOLDER']}/fiftyone"
os.environ["FIFTYONE_DO_NOT_TRACK"] = "1"
os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"  # its wheel's database is one version old

import fiftyone as fo  # it reads its settings when it is imported

from wise_client.integrations.fiftyone import apply

PORT = 15151
QUERIES = {"circle": "the red circle", "square": "the blue square", "star": "the yellow star"}

dataset = fo.Dataset("shapes")
dataset.add_sample(fo.Sample(filepath=os.environ["WISE_EXAMPLE"]))
for field, query in QUERIES.items():
    apply(dataset, query, field)
session = fo.launch_app(dataset, remote=True, port=PORT, address="127.0.0.1")
print(f"AT http://127.0.0.1:{PORT}/datasets/shapes?id={dataset.first().id}", flush=True)
sys.stdin.readline()
session.close()
