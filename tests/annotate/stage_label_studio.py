"""A Label Studio with one task that our backend has drawn masks on, for `draw_pictures.py`."""

import os
import sys
from pathlib import Path

from label_studio_server import PASSWORD, USER, label_studio, ml_backend

COLOURS = {"the red circle": "#1b9e77", "the blue square": "#d95f02", "the yellow star": "#7570b3"}
LABELS = "".join(f'<Label value="{name}" background="{one}"/>' for name, one in COLOURS.items())
CONFIG = f"""<View><Image name="img" value="$image" zoom="true"/>
<BrushLabels name="tag" toName="img">{LABELS}</BrushLabels>
<KeyPointLabels name="click" toName="img" smart="true">{LABELS}</KeyPointLabels>
<RectangleLabels name="drag" toName="img" smart="true">{LABELS}</RectangleLabels></View>"""

with label_studio(Path(os.environ["WISE_FOLDER"])) as server:
    words = ["--label-studio-url", server.url, "--label-studio-token", server.token]
    with ml_backend(os.environ["WISE_URL"], *words) as backend:
        project = server.project(CONFIG, backend)
        task = server.upload(project, Path(os.environ["WISE_EXAMPLE"]))[0]["id"]
        server.retrieve(project)
        server.act(project, "predictions_to_annotations")
        page = f"{server.url}/projects/{project}/data?task={task}"
        print("AT", page, USER, PASSWORD, server.url, flush=True)
        sys.stdin.readline()
