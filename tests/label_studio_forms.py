"""What the tests of the ML backend of Label Studio share."""

import numpy as np

BRUSH = """<View><Image name="img" value="$image"/>
<BrushLabels name="tag" toName="img"><Label value="cup"/><Label value="nothing"/></BrushLabels>
<TextArea name="ask" toName="img" value="$question"/></View>"""


def unpacked(rle: list[int]) -> np.ndarray:
    """Label Studio's brush RLE by its definition (rle-pack): uint8 [values]."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if run else [read(word) for _ in range(length)]
    return np.array(values, np.uint8)
